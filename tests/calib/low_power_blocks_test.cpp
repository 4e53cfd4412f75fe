// Weights in blocks, and low-power blocks: what the search finds, and how an override asks for them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "support/model_builder.hpp"
#include "tare/calibration.hpp"
#include "tare/error.hpp"
#include "tare/model.hpp"
#include "tare/overrides.hpp"

namespace tare {
namespace {

using testing::HasSubstr;

/// -10 … 21 in four channels of two blocks; AIMET's scales of the blocks are 1.25, .75, .25, .714286, 1.28571, 1.85714,
/// 2.42857, 3.
TensorEncodings search(QuantizerSpec spec) {
  std::vector<float> values(32);
  std::iota(values.begin(), values.end(), -10.0f);
  SearchOptions options;
  options.scheme = Scheme::min_max;
  return find_parameter_encodings("w", Tensor::of<float>({4, 8}, values), spec, options);
}

QuantizerSpec low_power() {
  QuantizerSpec spec;
  spec.bitwidth = 4;
  spec.symmetric = true;
  spec.channel_axis = 0;
  spec.block_axis = 1;
  spec.block_size = 4;
  spec.decompressed_bitwidth = 8;
  return spec;
}

TEST(LowPowerBlocks, ScalesAreWholeMultiplesOfOneAChannel) {
  const TensorEncodings found = search(low_power());
  // The largest scale of each channel is 16 units.
  const std::vector<double> largest = {1.25, 5.0 / 7, 13.0 / 7, 3};
  const std::vector<std::vector<int>> multiples = {{16, 10}, {6, 16}, {11, 16}, {13, 16}};
  ASSERT_EQ(found.encodings.size(), 8u);
  for (std::size_t c = 0; c < 4; ++c)
    for (std::size_t b = 0; b < 2; ++b) {
      const Encoding& encoding = found.encodings[2 * c + b];
      EXPECT_NEAR(encoding.scale, largest[c] / 16 * multiples[c][b], 1e-7) << c << " " << b;
      EXPECT_EQ(encoding.offset, -8);
      EXPECT_DOUBLE_EQ(encoding.max, 7 * encoding.scale);
      EXPECT_DOUBLE_EQ(encoding.min, -8 * encoding.scale);
    }
}

TEST(LowPowerBlocks, ABlockWithoutWeightsHasOneUnit) {
  std::vector<float> values = {0, 0, 0, 0, 7, -3, 2, 1};
  SearchOptions options;
  options.scheme = Scheme::min_max;
  const TensorEncodings found = find_parameter_encodings("w", Tensor::of<float>({1, 8}, values), low_power(), options);
  EXPECT_DOUBLE_EQ(found.encodings[0].scale, found.encodings[1].scale / 16);
}

TEST(LowPowerBlocks, NeedASymmetricGridBlocksAndMoreBits) {
  const auto complaint = [](const QuantizerSpec& spec) -> std::string {
    try {
      search(spec);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  QuantizerSpec spec = low_power();
  spec.symmetric = false;
  EXPECT_THAT(complaint(spec), HasSubstr("'w': low-power blocks need a symmetric integer grid"));
  spec = low_power();
  spec.block_axis.reset();
  EXPECT_THAT(complaint(spec), HasSubstr("'w'"));
  spec = low_power();
  spec.decompressed_bitwidth = 4;
  EXPECT_THAT(complaint(spec), HasSubstr("3 bits or fewer, not 4"));
}

class BlockOverride : public testing::Test {
 protected:
  BlockOverride() {
    onnx::ModelProto model = test::empty_model();
    onnx::GraphProto& proto = *model.mutable_graph();
    test::add_input(proto, "x", {2, 8});
    test::add_output(proto, "y", {2, 4});
    test::add_initializer<float>(proto, "w", 1, {8, 4}, std::vector<float>(32, 1));
    test::add_node(proto, "MatMul", {"x", "w"}, {"y"});
    graph = load_model(test::write_model(model, folder / "model.onnx")).graph;
    sites = place(graph, load_config("default_per_tensor"));
  }
  const QuantizerSpec& weight(const std::string& text) {
    apply_overrides(sites, graph, {parse_override(text)});
    for (const QuantSite& site : sites)
      if (site.tensor == "w") return site.spec;
    throw std::out_of_range("w");
  }
  std::string complaint(const std::string& text) {
    try {
      weight(text);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  test::TemporaryFolder folder;
  Graph graph;
  std::vector<QuantSite> sites;
};

TEST_F(BlockOverride, CutsWeightsAlongTheirInputs) {
  const QuantizerSpec& spec = weight("w:bits=4,block=4,decompressed_bits=8");
  EXPECT_EQ(spec.bitwidth, 4);
  EXPECT_EQ(spec.channel_axis, 1);
  EXPECT_EQ(spec.block_axis, 0);
  EXPECT_EQ(spec.block_size, 4);
  EXPECT_EQ(spec.decompressed_bitwidth, 8);
  EXPECT_EQ(find_parameter_encodings("w", *graph.constant(graph.find("w")), spec).encodings.size(), 8u);
}

TEST_F(BlockOverride, NamesWhatCannotBeCut) {
  EXPECT_THAT(complaint("w:block=3"), HasSubstr("'w' of shape [8,4] has no blocks of 3 along axis 0"));
  EXPECT_THAT(complaint("x:block=4"), HasSubstr("'x' is no weight of a product"));
  EXPECT_THAT(complaint("w:block=0"), HasSubstr("'0' is not a number of elements"));
  EXPECT_THAT(complaint("w:decompressed_bits=2"), HasSubstr("is not 3 … 16 bits"));
}

}  // namespace
}  // namespace tare
