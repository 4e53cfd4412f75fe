// What TensorRT and ONNX Runtime's quantizer take, against their formats.
#include <gmock/gmock.h>

#include <fmt/format.h>
#include <bit>
#include <nlohmann/json.hpp>

#include "tare/export.hpp"

namespace tare {
namespace {

using nlohmann::json;

TensorEncodings tensor(const std::string& name, SiteRole role, const QuantizerSpec& spec, std::vector<Encoding> grids) {
  for (Encoding& grid : grids) {
    grid.min = grid.scale * grid.offset;
    grid.max = grid.scale * (grid.offset + static_cast<double>(spec.steps()));
  }
  return {name, role, spec, std::move(grids)};
}

EncodingSet example() {
  QuantizerSpec plain;
  QuantizerSpec symmetric;
  symmetric.symmetric = true;
  QuantizerSpec channels = symmetric;
  channels.channel_axis = 1;
  QuantizerSpec wide;
  wide.bitwidth = 16;
  QuantizerSpec half;
  half.format = NumberFormat::float16;
  half.bitwidth = 16;
  QuantizerSpec bias;
  bias.bitwidth = 32;
  bias.symmetric = true;
  EncodingSet set;
  set.tensors = {tensor("a:0", SiteRole::activation, plain, {{0, 0, 0.5, -51}}),
                 tensor("b", SiteRole::activation, plain, {{0, 0, 0.25, 0}}),
                 {"h", SiteRole::activation, half, {}},
                 tensor("s", SiteRole::activation, symmetric, {{0, 0, 0.125, -128}}),
                 tensor("w", SiteRole::parameter, channels, {{0, 0, 0.5, -128}, {0, 0, 0.75, -128}}),
                 tensor("v", SiteRole::parameter, plain, {{0, 0, 0.5, -3}}),
                 tensor("bias", SiteRole::parameter, bias, {{0, 0, 1e-4, -2147483648.0}})};
  return set;
}

TEST(TensorRtCache, HasOneSymmetricScaleAnActivation) {
  EXPECT_EQ(to_tensorrt_cache(example()),
            fmt::format("TRT-100100-EntropyCalibration2\na:0: {:08x}\nb: {:08x}\ns: 3e000000\n",
                        std::bit_cast<std::uint32_t>(static_cast<float>(0.5 * 204 / 127)),
                        std::bit_cast<std::uint32_t>(static_cast<float>(0.25 * 255 / 127))));
}

TEST(OnnxRuntimeOverrides, HaveUnsignedActivationsAndSignedParameters) {
  EXPECT_EQ(json::parse(to_onnxruntime_overrides([] {
              EncodingSet set = example();
              std::erase_if(set.tensors, [](const TensorEncodings& t) { return t.tensor == "h"; });
              return set;
            }())),
            json::parse(R"({"a:0": [{"scale": 0.5, "zero_point": 51}], "b": [{"scale": 0.25, "zero_point": 0}],
                            "s": [{"scale": 0.125, "zero_point": 128}],
                            "w": [{"axis": 1, "scale": 0.5, "zero_point": 0}, {"axis": 1, "scale": 0.75, "zero_point": 0}],
                            "v": [{"scale": 0.5, "zero_point": -125}]})"));
}

TEST(OnnxRuntimeOverrides, NameATypeWhereItIsNotTheUsualOne) {
  EncodingSet set = example();
  set.tensors.erase(set.tensors.begin() + 2);
  set.tensors[1].spec.bitwidth = 16;
  const json file = json::parse(to_onnxruntime_overrides(set));
  EXPECT_EQ(file["b"][0]["quant_type"], "QUInt16");
  EXPECT_FALSE(file["a:0"][0].contains("quant_type"));
  set.tensors[1].spec.bitwidth = 7;
  try {
    to_onnxruntime_overrides(set);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    EXPECT_THAT(error.what(), testing::HasSubstr("'b': ONNX Runtime has no type of 7 bits"));
  }
}

}  // namespace
}  // namespace tare
