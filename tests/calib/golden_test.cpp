// AIMET's answers: 144 rows on portable data, measured edge cases, and the vectors of its own tests.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <numeric>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "support/paths.hpp"
#include "tare/calibration.hpp"
#include "tare/error.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

using Batches = std::vector<std::vector<float>>;

/// Uniform in [0, 1) from a linear congruential generator: the same numbers in every language.
class Uniform {
 public:
  explicit Uniform(std::uint32_t seed) : state_(seed) {}
  double next() {
    state_ = 1664525u * state_ + 1013904223u;
    return static_cast<double>(state_) / 4294967296.0;
  }
  /// Sum of twelve uniforms minus six: nearly normal.
  double normal() {
    double sum = 0;
    for (int i = 0; i < 12; ++i) sum += next();
    return sum - 6;
  }

 private:
  std::uint32_t state_;
};

std::vector<float> make(std::size_t count, std::uint32_t seed, const std::function<double(Uniform&)>& draw) {
  Uniform uniform(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(draw(uniform));
  return values;
}

Batches golden_data(const std::string& name) {
  const auto normal = [](Uniform& u) { return u.normal(); };
  if (name == "uniform") return {make(4096, 1, [](Uniform& u) { return 2 * u.next() - 1; })};
  if (name == "uniform6") return {make(4096, 2, [](Uniform& u) { return 6 * u.next(); })};
  if (name == "normal") return {make(2000, 3, normal)};
  if (name == "shifted") return {make(2000, 4, [](Uniform& u) { return u.normal() * 2 + 1; })};
  if (name == "cubed")
    return {make(2000, 5, [](Uniform& u) {
      const double x = u.normal();
      return x * x * x;
    })};
  if (name == "relu") return {make(2000, 6, [](Uniform& u) { return std::max(0.0, u.normal()); })};
  if (name == "batches") return {make(2000, 7, normal), make(2000, 8, [](Uniform& u) { return 3 * u.normal(); })};
  if (name == "pair") return {{-1, 2}};
  std::vector<float> ramp(256);
  for (int i = 0; i < 256; ++i) ramp[static_cast<std::size_t>(i)] = static_cast<float>(i / 255.0);
  return {ramp};
}

QuantizerSpec spec_of(int bitwidth, const std::string& mode) {
  QuantizerSpec spec;
  spec.bitwidth = bitwidth;
  spec.symmetric = mode != "asym";
  spec.strict_symmetric = mode == "strict";
  spec.unsigned_symmetric = mode == "unsigned-sym";
  return spec;
}

Encoding encode(const Batches& batches, const QuantizerSpec& spec, Scheme scheme) {
  TensorStatistics statistics;
  TfEnhancedHistogram histogram;
  for (const auto& batch : batches) {
    statistics.merge(observe_values(batch));
    update(histogram, batch);
  }
  statistics.tf_enhanced = histogram;
  SearchOptions options;
  options.scheme = scheme;
  return find_encoding(statistics, spec, options);
}

void expect_encoding(const Encoding& found, const Encoding& expected, double tolerance) {
  const auto near = [&](double a, double b) { return std::abs(a - b) <= tolerance * std::max(std::abs(b), 1e-300); };
  EXPECT_TRUE(near(found.scale, expected.scale)) << found.scale << " instead of " << expected.scale;
  EXPECT_EQ(found.offset, expected.offset);
  EXPECT_TRUE(near(found.min, expected.min)) << found.min << " instead of " << expected.min;
  EXPECT_TRUE(near(found.max, expected.max)) << found.max << " instead of " << expected.max;
}

TEST(Golden, PortableDataIsTheDataOfTheTable) {
  EXPECT_NEAR(golden_data("uniform")[0][0], -0.52708894, 1e-7);
  EXPECT_NEAR(golden_data("uniform6")[0][1], 2.75984669, 1e-7);
  EXPECT_NEAR(golden_data("normal")[0][1], -.29937148, 1e-7);
  EXPECT_NEAR(golden_data("shifted")[0][0], .46217352, 1e-7);
  EXPECT_NEAR(golden_data("cubed")[0][1], .26956716, 1e-7);
  EXPECT_NEAR(golden_data("relu")[0][0], 1.28885579, 1e-7);
  EXPECT_NEAR(golden_data("batches")[1][1], 1.69205797, 1e-7);
}

TEST(Golden, EveryRowOfTheTable) {
  std::ifstream table(test::data_folder() / "aimet_golden.tsv");
  ASSERT_TRUE(table);
  int rows = 0;
  for (std::string line; std::getline(table, line);) {
    if (line.starts_with("#")) continue;
    std::istringstream fields(line);
    std::string data, scheme, mode;
    int bitwidth = 0;
    Encoding expected;
    fields >> data >> scheme >> bitwidth >> mode >> expected.min >> expected.max >> expected.scale >> expected.offset;
    ASSERT_TRUE(fields) << line;
    SCOPED_TRACE(line);
    const Encoding found =
        encode(golden_data(data), spec_of(bitwidth, mode), scheme == "min_max" ? Scheme::min_max : Scheme::tf_enhanced);
    expect_encoding(found, expected, 1e-6);
    ++rows;
  }
  EXPECT_EQ(rows, 144);
}

struct EdgeCase {
  std::string name;
  Batches data;
  Scheme scheme;
  int bitwidth;
  std::string mode;
  Encoding expected;
};

TEST(Golden, EdgeCasesMeasuredOnAimet) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  constexpr float infinity = std::numeric_limits<float>::infinity();
  constexpr Scheme tf = Scheme::min_max;
  constexpr Scheme tfe = Scheme::tf_enhanced;
  const Batches four = {std::vector<float>(100, 4.0f)};
  const Batches minus_five = {std::vector<float>(100, -5.0f)};
  std::vector<float> ramp(256);
  std::iota(ramp.begin(), ramp.end(), 0.0f);
  const std::vector<EdgeCase> cases = {
      {"small", {{0, .001f}}, tf, 8, "asym", {0, .00100000005, 3.9215688e-06, 0}},
      {"small", {{0, .001f}}, tf, 8, "sym", {-.00100787, .001, 7.874016e-06, -128}},
      {"small", {{0, .001f}}, tfe, 8, "asym", {0, .001, 3.9215688e-06, 0}},
      {"small", {{0, .001f}}, tfe, 8, "sym", {-.0022086280, .0021913731, 1.7254906e-05, -128}},
      {"small", {{0, .001f}}, tfe, 8, "unsigned-sym", {0, .0022000005, 8.6274531e-06, 0}},
      {"four", four, tf, 8, "asym", {0, 4, .01568627, 0}},
      {"four", four, tfe, 8, "asym", {0, 3.99999356, .01568624936, 0}},
      {"four", four, tfe, 8, "sym", {-4.05583429, 4.02414799, .03168620542, -128}},
      {"four", four, tfe, 8, "strict", {-3.99999094, 3.99999094, .03149599209, -127}},
      {"minus five", minus_five, tf, 8, "sym", {-5, 4.9609375, .0390625, -128}},
      {"minus five", minus_five, tf, 8, "strict", {-5, 5, .03937008, -127}},
      {"minus five", minus_five, tfe, 8, "asym", {-5.00001669, 0, .01960790902, -255}},
      {"minus five", minus_five, tfe, 8, "sym", {-5.06981802, 5.03021802, .03960795328, -128}},
      {"negative", {{-3, -1}}, tf, 8, "sym", {-3, 2.9765625, .0234375, -128}},
      {"positive", {{1, 3}}, tf, 8, "unsigned-sym", {0, 3, .01176470588, 0}},
      {"positive", {{1, 3}}, tfe, 8, "unsigned-sym", {0, 3.0299983, .01188234612, 0}},
      {"ramp", {ramp}, tf, 8, "asym", {0, 255, 1, 0}},
      {"ramp", {ramp}, tfe, 8, "asym", {0, 255, 1, 0}},
      {"ramp", {ramp}, tfe, 8, "sym", {-258.559845, 256.539855, 2.01999879, -128}},
      {"nan", {{nan, 1, -2}}, tf, 8, "asym", {-2, 1, .01176470588, -170}},
      {"nan", {{nan, 1, -2}}, tfe, 8, "asym", {-2, 1, .01176470588, -170}},
      {"all nan", {{nan, nan}}, tf, 8, "asym", {0, 3.0398e-5, 1.1920929e-7, 0}},
      {"zeros", {{0, 0}}, tf, 8, "asym", {0, 3.0398e-5, 1.1920929e-7, 0}},
      {"-inf", {{-infinity, 1, 2}}, tf, 8, "asym", {-3.3687952317214356e38, 0, 1.3210961693e36, -255}},
      {"huge", {{-3e38f, 3e38f}}, tf, 8, "asym", {-3.01176471e38, 2.98823530e38, 2.35294118e36, -128}},
      {"frozen", {{-1, 1}, {-3, .5f}, {0, 7}}, tf, 8, "asym", {-3.01960784, 6.98039216, .03921569, -77}},
      {"frozen", {{-1, 1}, {-3, .5f}, {0, 7}}, tfe, 8, "asym", {-2.99607849, 1.00392163, .01568627544, -191}},
      {"int2", {{-.5f, 1}}, tf, 2, "sym", {-1, .5, .5, -2}},
      {"int2", {{-.5f, 1}}, tf, 2, "strict", {-1, 1, 1, -1}},
      {"int32", {{-.5f, 1}}, tf, 32, "sym", {-1, 1, 4.656612875e-10, -2147483648.0}},
  };
  for (const EdgeCase& edge : cases) {
    SCOPED_TRACE(edge.name + (edge.scheme == tf ? " min_max " : " tf_enhanced ") + edge.mode);
    expect_encoding(encode(edge.data, spec_of(edge.bitwidth, edge.mode), edge.scheme), edge.expected, 2e-5);
  }
}

/// numpy.random.RandomState(seed).randn(count): a 32-bit Mersenne twister, two draws a uniform of 53 bits, two uniforms
/// a point in the unit circle, and both coordinates of each point.
std::vector<float> random_state_normal(std::uint32_t seed, std::size_t count) {
  std::mt19937 generator(seed);
  const auto uniform = [&] {
    const double high = static_cast<double>(generator() >> 5);
    const double low = static_cast<double>(generator() >> 6);
    return (high * 67108864.0 + low) / 9007199254740992.0;
  };
  std::vector<float> values;
  while (values.size() < count) {
    const double x = 2 * uniform() - 1;
    const double y = 2 * uniform() - 1;
    const double square = x * x + y * y;
    if (square >= 1 || square == 0) continue;
    const double factor = std::sqrt(-2 * std::log(square) / square);
    values.push_back(static_cast<float>(factor * y));
    values.push_back(static_cast<float>(factor * x));
  }
  values.resize(count);
  return values;
}

Encoding aimet_percentile(const std::vector<float>& values, double percentile) {
  TfEnhancedHistogram histogram;
  update(histogram, values);
  return aimet_percentile_encoding(histogram, {}, percentile);
}

TEST(Golden, AimetsPercentile) {
  const std::vector<float> normal = random_state_normal(0, 20000);
  EXPECT_NEAR(normal[0], 1.76405235, 1e-7);
  EXPECT_NEAR(normal[1], 0.40015721, 1e-7);
  EXPECT_NEAR(normal[2], 0.97873798, 1e-7);
  expect_encoding(aimet_percentile(normal, 100), {-4.46378205, 3.78451087, .032346247, -138}, 1e-7);
  expect_encoding(aimet_percentile(normal, 99.9), {-3.00087251, 3.12090741, .02400698, -125}, 1e-7);
  expect_encoding(aimet_percentile(normal, 99), {-2.31875833, 2.33701627, .01825794, -127}, 1e-7);
  expect_encoding(aimet_percentile({0, .001f}, 100), {0, .01, 3.9215685e-05, 0}, 1e-7);
  EXPECT_GE(aimet_percentile(std::vector<float>(6000, 4.0f), 100).max, 3.99006);
  EXPECT_LE(aimet_percentile(std::vector<float>(6000, -5.0f), 100).min, -4.99992);
  expect_encoding(aimet_percentile(std::vector<float>(6000, 0.0f), 99),
                  {-1.003921568627451, 0.996078431372549, 0.00784313725490196, -128}, 1e-9);
  EXPECT_THROW(aimet_percentile(normal, 50), Error);
}

TEST(Golden, LostValuesAreCounted) {
  TfEnhancedHistogram histogram;
  update(histogram, std::vector<float>{0, 0});
  EXPECT_EQ(histogram.batches, 0u);
  update(histogram, std::vector<float>{-1, 1});
  update(histogram, std::vector<float>{0, 7, -8, 2});
  EXPECT_EQ(histogram.lost, 2u);
  EXPECT_EQ(histogram.batches, 2u);
}

TEST(Golden, Float8) {
  QuantizerSpec spec;
  spec.format = NumberFormat::float8e4m3fn;
  EXPECT_NEAR(encode({{1, 2, -3}}, spec, Scheme::sqnr).scale, .006696428571, 1e-11);
  spec.format = NumberFormat::float8e5m2;
  EXPECT_NEAR(encode({{1, 2, -3}}, spec, Scheme::sqnr).scale, 5.231584821e-05, 1e-13);
}

TEST(AimetVectors, RangesGivenDirectly) {
  const QuantizerSpec spec;
  const auto expect = [&](double low, double high, Encoding expected) {
    const Encoding found = min_max_encoding(low, high, spec);
    EXPECT_NEAR(found.min, expected.min, 0.25);  // the tests of AIMET state the range before it is moved onto the grid
    EXPECT_NEAR(found.max, expected.max, 0.25);
    EXPECT_NEAR(found.scale, expected.scale, 1e-4);
    EXPECT_EQ(found.offset, expected.offset);
  };
  expect(-40, 80, {-40, 80, .4706, -85});
  expect(10, 10, {0, 10, .0392, 0});
  expect(1000, 1200, {0, 1200, 4.7059, 0});
  expect(-8, -5, {-8, 0, .0314, -255});
}

TEST(AimetVectors, QuantizeDequantize) {
  const QuantizerSpec spec;
  const Encoding six = encode({{-40, -1, 0, 1, 2, -50, 80}}, spec, Scheme::min_max);
  expect_encoding(six, {-49.96078431, 80.03921569, .50980392, -98}, 1e-7);
  const auto check = [](const Encoding& encoding, const std::vector<float>& x, const std::vector<float>& expected) {
    const Grid grid = make_grid(encoding.scale, encoding.offset, 255, encoding.min, encoding.max);
    for (std::size_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(quantize_dequantize_half_up(x[i], grid.scale, grid.offset, grid.minimum, grid.maximum), expected[i],
                  1e-4);
      EXPECT_NEAR(quantize_dequantize(x[i], grid.scale, grid.zero_point, grid.low, grid.high), expected[i], 1e-4);
    }
  };
  check(six, {-40, -1, 0, 1, 2, -50, 80}, {-39.7647f, -1.01961f, 0, 1.01961f, 2.03922f, -49.9608f, 80.0392f});
  const Encoding seven = encode({{-100, 0, 125}}, spec, Scheme::min_max);
  expect_encoding(seven, {-99.70588, 125.29412, .88235294, -113}, 1e-7);
  check(seven, {200, 100, -50, -500}, {125.2941f, 99.7059f, -50.2941f, -99.7059f});
  check(min_max_encoding(-.46f, .72f, spec), {-.5f, -.25f, 0, .25f, .5f, .75f},
        {-.45811754f, -.2498823f, 0, .2498823f, .49976459f, .72188222f});
}

/// -15, -14.5, …: shape [1, 4, 5, 3].
Tensor channel_data() {
  std::vector<float> values(60);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = -15.0f + 0.5f * static_cast<float>(i);
  return Tensor::of<float>({1, 4, 5, 3}, values);
}

TEST(AimetVectors, PerChannel) {
  SearchOptions options;
  options.scheme = Scheme::min_max;
  QuantizerSpec spec;
  spec.channel_axis = 1;
  const auto ranges = [&](const std::vector<std::pair<double, double>>& expected, double tolerance) {
    const TensorEncodings found = find_parameter_encodings("w", channel_data(), spec, options);
    ASSERT_EQ(found.encodings.size(), expected.size());
    for (std::size_t c = 0; c < expected.size(); ++c) {
      EXPECT_NEAR(found.encodings[c].min, expected[c].first, tolerance);
      EXPECT_NEAR(found.encodings[c].max, expected[c].second, tolerance);
    }
  };
  ranges({{-15, 0}, {-7.5, 0}, {0, 7}, {0, 14.5}}, 1e-6);
  spec.channel_axis = 3;
  ranges({{-14.976471, 13.523529}, {-14.529412, 13.970588}, {-13.970588, 14.529412}}, 1e-6);
  spec.symmetric = spec.strict_symmetric = true;
  spec.channel_axis = 1;
  ranges({{-15, 15}, {-7.5, 7.5}, {-7, 7}, {-14.5, 14.5}}, 1e-6);
  spec.channel_axis = 2;
  ranges({{-15, 15}, {-13.5, 13.5}, {-12, 12}, {-13, 13}, {-14.5, 14.5}}, 1e-6);
}

TEST(AimetVectors, PerBlock) {
  std::vector<float> values(32);
  std::iota(values.begin(), values.end(), -10.0f);
  QuantizerSpec spec;
  spec.bitwidth = 4;
  spec.symmetric = true;
  spec.channel_axis = 0;
  spec.block_axis = 1;
  spec.block_size = 4;
  SearchOptions options;
  options.scheme = Scheme::min_max;
  const TensorEncodings found = find_parameter_encodings("w", Tensor::of<float>({4, 8}, values), spec, options);
  const std::vector<Encoding> expected = {{-10, 8.75, 1.25, -8},        {-6, 5.25, .75, -8},
                                          {-2, 1.75, .25, -8},          {-5.71429, 5, .714286, -8},
                                          {-10.28571, 9, 1.28571, -8},  {-14.85714, 13, 1.85714, -8},
                                          {-19.42857, 17, 2.42857, -8}, {-24, 21, 3, -8}};
  ASSERT_EQ(found.encodings.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) expect_encoding(found.encodings[i], expected[i], 4e-6);
}

TEST(AimetVectors, Zeros) {
  const Encoding expected = {-1.003921568627451, 0.996078431372549, 0.00784313725490196, -128};
  const Batches zeros = {std::vector<float>(6000, 0.0f)};
  const Batches nothing_but_nan = {std::vector<float>(100, std::numeric_limits<float>::quiet_NaN())};
  for (const char* mode : {"asym", "sym", "strict", "unsigned-sym"}) {
    SCOPED_TRACE(mode);
    const QuantizerSpec spec = spec_of(8, mode);
    expect_encoding(encode(zeros, spec, Scheme::tf_enhanced), expected, 1e-9);
    // AIMET finds an encoding without a grid here: min 1, max -254, scale -1, offset -1.
    expect_encoding(encode(nothing_but_nan, spec, Scheme::tf_enhanced), expected, 1e-9);
    for (const Scheme scheme : {Scheme::percentile, Scheme::mse, Scheme::entropy}) {
      const Encoding strict = {-1, 1, 0.007874015748031496, -127};
      for (const Batches& data : {zeros, nothing_but_nan})
        expect_encoding(encode(data, spec, scheme), spec.strict_symmetric ? strict : expected, 1e-9);
    }
    EXPECT_LT(encode(nothing_but_nan, spec, Scheme::min_max).scale, 1.2e-7) << "min_max counts NaN as zeros";
  }
}

TEST(AimetVectors, ConstantData) {
  const QuantizerSpec spec;
  for (const double percentile : {100.0, 99.99, 90.0}) {
    SearchOptions options;
    options.scheme = Scheme::percentile;
    options.percentile = percentile;
    const auto limits = [&](float value) {
      return find_encoding(observe_values(std::vector<float>(6000, value)), spec, options);
    };
    EXPECT_GE(limits(4).max, 3.99006);
    EXPECT_EQ(limits(4).min, 0);
    EXPECT_LE(limits(-5).min, -4.99992);
    EXPECT_EQ(limits(-5).max, 0);
  }
  const Encoding up = encode({std::vector<float>(6000, 4.0f)}, spec, Scheme::tf_enhanced);
  EXPECT_LE(up.min, 0);
  EXPECT_GE(up.max, 3.5);
  const Encoding down = encode({std::vector<float>(6000, -5.0f)}, spec, Scheme::tf_enhanced);
  EXPECT_LE(down.min, -4.5);
  EXPECT_GE(down.max, 0);
}

}  // namespace
}  // namespace tare
