// Grids of every kind as the QDQ export writes them, in ONNX Runtime: on values that reach far beyond the grid, what
// comes out is what the simulation makes of them, bit for bit.
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "runtime.hpp"
#include "tare/export.hpp"
#include "tare/session.hpp"

namespace tare {
namespace {

struct Kind {
  const char* name;
  int bits;
  bool symmetric = false;
  bool strict = false;
  bool per_channel = false;
  int block_size = 0;
  bool as_integers = false;
  NumberFormat format = NumberFormat::integer;
};

class Grids : public testing::TestWithParam<Kind> {
 protected:
  static constexpr std::int64_t rows = 6;
  static constexpr std::int64_t columns = 64;

  static TensorEncodings encodings(const std::string& tensor, SiteRole role) {
    const Kind& kind = GetParam();
    TensorEncodings result{tensor, role, {}, {}};
    QuantizerSpec& spec = result.spec;
    spec.format = kind.format;
    spec.bitwidth = kind.bits;
    spec.symmetric = kind.symmetric;
    spec.strict_symmetric = kind.strict;
    std::int64_t count = 1;
    if (kind.per_channel || kind.block_size > 0) {
      spec.channel_axis = 0;
      count = rows;
    }
    if (kind.block_size > 0) {
      spec.block_axis = 1;
      spec.block_size = kind.block_size;
      count *= columns / kind.block_size;
    }
    const double middle = std::ldexp(1.0, kind.bits - 1);
    const double offset = kind.symmetric ? (kind.strict ? 1 - middle : -middle) : -std::floor(middle / 3);
    for (std::int64_t i = 0; i < count; ++i) {
      // Scales that a float32 does not hold exactly; the grid covers about [-1, 1].
      const double scale = (1.0 + 0.1 * static_cast<double>(i % 7)) / middle;
      if (kind.format != NumberFormat::integer) {
        const double largest = kind.format == NumberFormat::float8e4m3fn ? 448 : 57344;
        result.encodings.push_back({-scale, scale, scale * middle / largest, 0});
        continue;
      }
      result.encodings.push_back({scale * offset, scale * (offset + static_cast<double>(spec.steps())), scale, offset});
    }
    return result;
  }
  /// From -4 to 4, half codes among them.
  static Tensor values() {
    Tensor tensor = Tensor::host(DataType::float32, {rows, columns});
    for (std::int64_t i = 0; i < tensor.elements(); ++i)
      tensor.mutable_data<float>()[i] = -4 + 8 * static_cast<float>(i) / static_cast<float>(rows * columns - 1);
    tensor.mutable_data<float>()[0] = 0.5f * static_cast<float>(std::ldexp(1.0, 1 - GetParam().bits));
    tensor.mutable_data<float>()[columns] = -1e30f;
    tensor.mutable_data<float>()[columns + 1] = 1e30f;
    return tensor;
  }
  /// y = x + w: the quantized one of the two is alone where the other is zero.
  static onnx::ModelProto sum(const Tensor& w) {
    onnx::ModelProto model = test::empty_model(13);
    test::add_input(*model.mutable_graph(), "x", {rows, columns});
    test::add_output(*model.mutable_graph(), "y", {rows, columns});
    test::add_initializer<float>(*model.mutable_graph(), "w", 1, {rows, columns},
                                 {w.span<float>().begin(), w.span<float>().end()});
    test::add_node(*model.mutable_graph(), "Add", {"x", "w"}, {"y"}, "sum");
    return model;
  }
  static void compare(const onnx::ModelProto& model, const EncodingSet& set, const Tensor& x) {
    const test::TemporaryFolder folder;
    test::write_model(model, folder / "in.onnx");
    Session session(folder / "in.onnx");
    session.set_encodings(set);
    const Tensor ours = session.simulate(std::array{x}).at(0);
    save_qdq_model(session.model(), set, folder / "out.onnx", {.prequantize_constants = GetParam().as_integers});
    onnx::ModelProto exported;
    ASSERT_TRUE(exported.ParseFromString(test::read_bytes(folder / "out.onnx")));
    const Tensor theirs = test::run_in_onnxruntime(exported, {{"x", x}}).at("y");
    ASSERT_EQ(ours.shape(), theirs.shape());
    for (std::int64_t i = 0; i < ours.elements(); ++i)
      EXPECT_EQ(ours.data<float>()[i], theirs.data<float>()[i])
          << "of " << (x.data<float>()[i] == 0 ? values() : x).data<float>()[i] << " at " << i;
    double largest = 0;
    for (const float value : theirs.span<float>()) largest = std::max(largest, std::abs(static_cast<double>(value)));
    EXPECT_LT(largest, 4.0) << "saturated";
  }
  static Tensor zeros() {
    Tensor tensor = Tensor::host(DataType::float32, {rows, columns});
    std::fill_n(tensor.mutable_data<float>(), tensor.elements(), 0.0f);
    return tensor;
  }
};

class ActivationGrids : public Grids {};
TEST_P(ActivationGrids, AreTheSimulations) {
  compare(sum(zeros()), {{encodings("x", SiteRole::activation)}}, values());
}
TEST_P(Grids, OfParametersAreTheSimulations) {
  compare(sum(values()), {{encodings("w", SiteRole::parameter)}}, zeros());
}

std::string name(const testing::TestParamInfo<Kind>& test) { return test.param.name; }

constexpr std::array everywhere = {
    Kind{"Int8Asymmetric", 8, false},
    Kind{"Int8Symmetric", 8, true},
    Kind{"Int8Strict", 8, true, true},
    Kind{"Int8PerChannel", 8, true, false, true},
    Kind{"Int8StrictPerChannel", 8, true, true, true},
    Kind{"Int2", 2, true},
    Kind{"Int4Asymmetric", 4, false},
    Kind{"Int4Symmetric", 4, true},
    Kind{"Int4PerChannel", 4, true, false, true},
    Kind{"Int5Asymmetric", 5, false},
    Kind{"Int5Symmetric", 5, true, false, true},
    Kind{"Int7Asymmetric", 7, false},
    Kind{"Int7PerChannel", 7, true, false, true},
    Kind{"Int12Asymmetric", 12, false},
    Kind{"Int12Strict", 12, true, true},
    Kind{"Int16Asymmetric", 16, false},
    Kind{"Int16Symmetric", 16, true},
    Kind{.name = "Float8e4m3fn", .bits = 8, .format = NumberFormat::float8e4m3fn},
    Kind{.name = "Float8e5m2PerChannel", .bits = 8, .per_channel = true, .format = NumberFormat::float8e5m2}};
constexpr std::array constants_only = {Kind{"Int8PerChannelAsIntegers", 8, true, false, true, 0, true},
                                       Kind{"Int8StrictAsIntegers", 8, true, true, true, 0, true},
                                       Kind{"Int4Blocks", 4, true, false, true, 16},
                                       Kind{"Int8Blocks", 8, true, false, true, 32}};

INSTANTIATE_TEST_SUITE_P(OnnxRuntime, ActivationGrids, testing::ValuesIn(everywhere), name);
INSTANTIATE_TEST_SUITE_P(OnnxRuntime, Grids, testing::ValuesIn(everywhere), name);
INSTANTIATE_TEST_SUITE_P(OnnxRuntimeConstants, Grids, testing::ValuesIn(constants_only), name);

}  // namespace
}  // namespace tare
