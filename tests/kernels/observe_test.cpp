// Observers against a count element by element: the same integers for every split, order, layout and instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "kernels/inputs.hpp"
#include "tare/calibration.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

using test::devices;

TensorStatistics counted(const std::vector<float>& values, bool with_bins = true) {
  TensorStatistics want;
  std::map<std::uint32_t, std::uint64_t> bins;
  for (const float x : values) {
    ++want.count;
    if (std::isnan(x))
      ++want.nan_count;
    else if (std::isinf(x))
      ++(x > 0 ? want.positive_infinity_count : want.negative_infinity_count);
    else {
      want.min = std::min(want.min, x + 0.0f);  // -0 + 0 is +0
      want.max = std::max(want.max, x + 0.0f);
      if (x == 0)
        ++want.zero_count;
      else
        ++bins[histogram_bin(bits_of(x))];
    }
  }
  for (const float x : values) {
    want.min_count += x == want.min ? 1 : 0;
    want.max_count += x == want.max ? 1 : 0;
  }
  if (want.count == want.nonfinite_count()) want.min_count = want.max_count = 0;
  if (with_bins) want.bins.assign(bins.begin(), bins.end());
  return want;
}

void expect_same(const TensorStatistics& got, const TensorStatistics& want, const std::string& where) {
  EXPECT_EQ(got.count, want.count) << where;
  EXPECT_EQ(got.nan_count, want.nan_count) << where;
  EXPECT_EQ(got.positive_infinity_count, want.positive_infinity_count) << where;
  EXPECT_EQ(got.negative_infinity_count, want.negative_infinity_count) << where;
  EXPECT_EQ(got.zero_count, want.zero_count) << where;
  EXPECT_EQ(bits_of(got.min), bits_of(want.min)) << where;
  EXPECT_EQ(bits_of(got.max), bits_of(want.max)) << where;
  EXPECT_EQ(got.min_count, want.min_count) << where;
  EXPECT_EQ(got.max_count, want.max_count) << where;
  EXPECT_EQ(got.bins, want.bins) << where;
}

Tensor as_tensor(const std::vector<float>& values) {
  return test::tensor_of(values, {static_cast<std::int64_t>(values.size())});
}

void check(const std::vector<float>& values) {
  const Tensor tensor = as_tensor(values);
  for (const test::Device& device : devices()) {
    const std::string where = device.name + ", " + std::to_string(values.size()) + " values";
    for (const ObserverKind kind : {ObserverKind::histogram, ObserverKind::min_max}) {
      const auto observer = device.backend->make_observer(kind, 2);
      observer->observe(1, tensor);
      const TensorStatistics want = counted(values, kind == ObserverKind::histogram);
      const std::vector<TensorStatistics> got = observer->collect();
      ASSERT_EQ(got.size(), 2u);
      expect_same(got[0], counted({}), where);
      expect_same(got[1], want, where);
      EXPECT_EQ(observer->unusable_count(), want.nan_count + want.positive_infinity_count);
    }
  }
}

TEST(Observer, SpecialValues) {
  check(test::special_values());
  check(test::finite_values());
  check({});
  check({0.0f});
  check({-0.0f, -1e-45f});
  check({NAN, NAN});
  check({INFINITY, -INFINITY, NAN});
  std::vector<float> many;
  for (int i = 0; i < 5; ++i)
    for (const float x : test::special_values()) many.push_back(x);
  check(many);
  many.clear();
  for (int i = 0; i < 5; ++i)
    for (const float x : test::finite_values()) many.push_back(x);
  check(many);
}

TEST(Observer, SizesAroundBlocksAndThreads) {
  for (const std::size_t n : {1, 63, 64, 65, 1023, 1024, 1025, 2047, 2048, 2049, 4097, 65535, 65536, 98305, 300001})
    check(test::normal_values(n, 7));
}

TEST(Observer, RepeatedValues) {
  // More than 16 bits hold, in one column and in all of them; zeros of both signs; extremes that return.
  for (const float value : {0.0f, -0.0f, 1.5f, -3e-20f, 1e30f}) check(std::vector<float>(600000, value));
  std::vector<float> relu = test::normal_values(500000, 8);
  for (float& x : relu) x = std::clamp(x, 0.0f, 1.0f);
  check(relu);
  for (float& x : relu) x = -x;
  check(relu);
  std::vector<float> sparse(40000, -0.0f);
  sparse[39999] = 1e-40f;
  check(sparse);
}

/// Blocks are counted in another way when all of their values lie in the octaves of 64 bins, or are all the same.
TEST(Observer, ValuesAtTheEndsOfTheFineOctaves) {
  std::vector<float> ends;
  for (const float limit : {0x1p-30f, 0x1p20f})
    for (const float value : {std::nextafter(limit, 0.0f), limit, std::nextafter(limit, 1e30f)}) {
      ends.push_back(value);
      ends.push_back(-value);
    }
  const std::vector<float> normal = test::normal_values(4096, 12);
  for (std::size_t e = 0; e < ends.size(); ++e) {
    std::vector<float> values = normal;
    for (std::size_t i = 37 * e; i < values.size(); i += 701) values[i] = ends[e];
    check(values);
    for (float& x : values) x = std::copysign(x, ends[e]);  // one sign only
    check(values);
    std::fill(values.begin() + 128, values.begin() + 1024, ends[e]);  // whole blocks of one value
    check(values);
  }
}

TEST(Observer, SpecialValuesAmongOthers) {
  std::vector<float> values = test::normal_values(200000, 9);
  for (std::size_t i = 0; i < values.size(); i += 997) values[i] = i % 2 ? NAN : (i % 3 ? INFINITY : -INFINITY);
  check(values);
}

TEST(Observer, AnyOrderAndAnySplitGiveTheSameStatistics) {
  std::vector<float> values = test::normal_values(120000, 10);
  for (const float x : test::special_values()) values.push_back(x);
  values.insert(values.end(), 3000, 0.0f);
  const TensorStatistics want = counted(values);
  std::mt19937 engine(3);
  for (const test::Device& device : devices()) {
    std::shuffle(values.begin(), values.end(), engine);
    const auto observer = device.backend->make_observer(ObserverKind::histogram, 3);
    std::vector<std::size_t> cuts = {0, values.size()};
    for (int i = 0; i < 20; ++i) cuts.push_back(engine() % values.size());
    std::sort(cuts.begin(), cuts.end());
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i)
      observer->observe(2, as_tensor({values.begin() + static_cast<std::ptrdiff_t>(cuts[i]),
                                      values.begin() + static_cast<std::ptrdiff_t>(cuts[i + 1])}));
    expect_same(observer->collect()[2], want, device.name);
  }
}

TEST(Observer, MisalignedStarts) {
  // A tensor may start anywhere inside the storage of another.
  const std::vector<float> values = test::normal_values(70000, 11);
  const Tensor whole = as_tensor(values);
  for (const std::size_t skip : {1, 3, 5, 15}) {
    const std::vector<float> rest(values.begin() + static_cast<std::ptrdiff_t>(skip), values.end());
    const std::shared_ptr<void> inside(whole.storage(), const_cast<float*>(whole.data<float>()) + skip);
    const Tensor part(DataType::float32, {static_cast<std::int64_t>(rest.size())}, inside);
    for (const test::Device& device : devices()) {
      const auto observer = device.backend->make_observer(ObserverKind::histogram, 1);
      observer->observe(0, part);
      expect_same(observer->collect()[0], counted(rest), device.name);
      const TensorEncodings encodings{
          .tensor = "x", .spec = {}, .encodings = {{.min = -1, .max = 1, .scale = 0.01, .offset = -99}}};
      const Tensor quantized = device.backend->quantize_dequantize(part, encodings, Rounding::half_even);
      for (std::size_t i = 0; i < rest.size(); ++i)
        ASSERT_EQ(bits_of(quantized.data<float>()[i]),
                  bits_of(quantize_dequantize(rest[i], 0.01f, 99.0f, 0.0f, 255.0f)));
    }
  }
}

TEST(Observer, HalfTensors) {
  for (const DataType type : {DataType::float16, DataType::bfloat16}) {
    std::vector<std::uint16_t> halves(0x10000);
    std::vector<float> wide(halves.size());
    for (std::size_t i = 0; i < halves.size(); ++i) {
      halves[i] = static_cast<std::uint16_t>(i);
      wide[i] = type == DataType::float16 ? half_to_float(halves[i]) : bfloat_to_float(halves[i]);
    }
    const Tensor tensor =
        Tensor::of<std::uint16_t>({0x100, 0x100}, std::span<const std::uint16_t>(halves)).retyped(type);
    for (const test::Device& device : devices()) {
      const auto observer = device.backend->make_observer(ObserverKind::histogram, 1);
      observer->observe(0, tensor);
      expect_same(observer->collect()[0], counted(wide), device.name);
    }
  }
}

TEST(Observer, LayoutDoesNotMatter) {
  const std::vector<float> values = test::normal_values(3 * 17 * 40 * 5, 12);
  const Tensor plain = test::tensor_of(values, {3, 17, 40, 5});
  const Tensor last(DataType::float32, plain.shape(), plain.storage(), Layout::channels_last);
  for (const test::Device& device : devices()) {
    const auto observer = device.backend->make_observer(ObserverKind::histogram, 2);
    observer->observe(0, plain);
    observer->observe(1, last);
    EXPECT_EQ(observer->collect()[0], observer->collect()[1]);
  }
}

TEST(Observer, TfEnhancedTakesEveryTensorAsOneBatch) {
  const std::vector<float> first = test::normal_values(9000, 13);
  const std::vector<float> second = test::normal_values(500, 14, 3.0f);
  TfEnhancedHistogram want;
  update(want, first);
  update(want, second);
  for (const test::Device& device : devices()) {
    const auto observer = device.backend->make_observer(ObserverKind::tf_enhanced, 2);
    observer->observe(1, as_tensor(first));
    observer->observe(1, as_tensor(second));
    const TensorStatistics got = observer->collect()[1];
    ASSERT_TRUE(got.tf_enhanced);
    EXPECT_EQ(*got.tf_enhanced, want);
    EXPECT_EQ(got.min,
              std::min(*std::min_element(first.begin(), first.end()), *std::min_element(second.begin(), second.end())));
    EXPECT_EQ(observer->collect()[0].tf_enhanced, TfEnhancedHistogram{});
  }
}

TEST(Observer, RefusesWhatDoesNotFit) {
  const auto backend = make_cpu_backend();
  const auto observer = backend->make_observer(ObserverKind::histogram, 1);
  EXPECT_THROW(observer->observe(1, as_tensor({1.0f})), Error);
  EXPECT_THROW(observer->observe(0, Tensor::host(DataType::int64, {2})), Error);
  EXPECT_THROW(observer->observe(0, Tensor()), Error);
}

}  // namespace
}  // namespace tare
