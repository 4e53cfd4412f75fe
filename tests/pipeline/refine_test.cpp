// The second pass of `refine` measures what the search saw: masks as their floor, constants once a sample.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "batches.hpp"
#include "support/model_builder.hpp"

namespace tare {
namespace {

std::vector<float> normal(unsigned seed, std::size_t count) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution;
  std::vector<float> values(count);
  for (float& value : values) value = distribution(random);
  return values;
}

CalibrationOptions refining(Scheme scheme, int bitwidth) {
  CalibrationOptions options;
  options.search.scheme = scheme;
  options.types.activation.bitwidth = bitwidth;
  options.refine = true;
  return options;
}

Encoding encoding_of(const CalibrationResult& result, const char* tensor) {
  return result.encodings.find(tensor, SiteRole::activation)->encodings.at(0);
}

/// What `mse` minimises.
double error(const std::vector<float>& values, const Encoding& encoding) {
  double sum = 0;
  for (const float value : values) {
    const double x = static_cast<double>(value);
    const double inside = std::clamp(x, encoding.min, encoding.max);
    const double rounded = std::nearbyint(inside / encoding.scale) * encoding.scale;
    sum += (x - rounded) * (x - rounded);
  }
  return sum;
}

TEST(RefinedCalibration, TakesMasksForTheirFloor) {
  const test::TemporaryFolder folder;
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  test::add_input(graph, "scores", {-1, 64});
  test::add_input(graph, "mask", {-1, 64});
  test::add_node(graph, "Add", {"scores", "mask"}, {"y"});
  test::add_output(graph, "y", {-1, 64});
  Session session(test::write_model(model, folder / "m.onnx"));
  for (const float mark : {-1e4f, -1e9f}) {
    std::vector<Batch> batches;
    std::vector<float> sums;
    for (unsigned b = 0; b < 8; ++b) {
      const std::vector<float> scores = normal(b, 256);
      std::vector<float> mask(256, 0.0f);
      for (std::size_t i = 0; i < mask.size(); i += 4) mask[i] = mark;
      for (std::size_t i = 0; i < mask.size(); ++i) sums.push_back(scores[i] + mask[i]);
      batches.push_back({{Tensor::of<float>({4, 64}, scores), Tensor::of<float>({4, 64}, mask)}, b * 4, 4});
    }
    const auto floor = static_cast<float>(find_sentinels(observe_values(sums)).value().floor);
    for (float& sum : sums) sum = std::max(sum, floor);
    for (const int bitwidth : {8, 4}) {
      CalibrationOptions options = refining(Scheme::mse, bitwidth);
      test::MemoryDataset data(batches);
      const Encoding refined = encoding_of(session.calibrate(data, options), "y");
      options.refine = false;
      const Encoding searched = encoding_of(session.calibrate(data, options), "y");
      EXPECT_LE(error(sums, refined), error(sums, searched) * 1.0001) << mark << ", " << bitwidth << " bits";
      EXPECT_NEAR(encoding_of(session.calibrate(data, refining(Scheme::mse, bitwidth)), "mask").min, -20, 0.1) << mark;
    }
  }
}

/// x and c joined, with c a constant or fed as an input.
std::filesystem::path write_joined(const std::filesystem::path& path, const std::vector<float>* constant) {
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  test::add_input(graph, "x", {1, 60});
  if (constant != nullptr)
    test::add_initializer(graph, "c", 1, {1, 4}, *constant);
  else
    test::add_input(graph, "c", {1, 4});
  test::add_integer(test::add_node(graph, "Concat", {"x", "c"}, {"y"}), "axis", 1);
  test::add_output(graph, "y", {1, 64});
  return test::write_model(model, path);
}

TEST(RefinedCalibration, CountsAConstantThatSharesARangeOnceASample) {
  const test::TemporaryFolder folder;
  std::size_t differing = 0;
  for (unsigned seed = 0; seed < 6; ++seed) {
    std::vector<float> constant = normal(100 + seed, 4);
    for (float& value : constant) value *= 2.5f;
    Session with_constant(write_joined(folder / "constant.onnx", &constant));
    Session with_input(write_joined(folder / "input.onnx", nullptr));
    std::vector<Batch> alone, both;
    for (unsigned b = 0; b < 40; ++b) {
      const Tensor x = Tensor::of<float>({1, 60}, normal(1000 * seed + b, 60));
      alone.push_back({{x}, b, 1});
      both.push_back({{x, Tensor::of<float>({1, 4}, constant)}, b, 1});
    }
    for (const int bitwidth : {8, 4, 3}) {
      test::MemoryDataset of_alone(alone), of_both(both);
      const CalibrationResult one = with_constant.calibrate(of_alone, refining(Scheme::sqnr, bitwidth));
      const CalibrationResult other = with_input.calibrate(of_both, refining(Scheme::sqnr, bitwidth));
      ASSERT_EQ(encoding_of(one, "x"), encoding_of(one, "c")) << "they share a range";
      differing += encoding_of(one, "x") == encoding_of(other, "x") ? 0 : 1;
    }
  }
  EXPECT_EQ(differing, 0u);
}

}  // namespace
}  // namespace tare
