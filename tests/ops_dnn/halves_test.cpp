// Half tensors: constants known when the kernel is made are widened like any other input, and outputs are narrowed but
// for those that the model declares float32. Expected are the float32 operator's results on the widened inputs,
// rounded.
#include "support/halves.hpp"
#include "ops_dnn/run_node.hpp"

namespace tare::test {
namespace {

class Halves : public testing::TestWithParam<DataType> {
 protected:
  static Tensor narrowed(const Tensor& wide) { return test::narrowed(wide, GetParam()); }
  /// Inputs from the second on are constants.
  void compare(const std::string& op_type, const std::vector<Tensor>& wide) {
    std::vector<Tensor> halves;
    std::vector<Tensor> exact;
    for (const Tensor& tensor : wide) {
      halves.push_back(narrowed(tensor));
      exact.push_back(widened(halves.back()));
    }
    NodeRunner on_halves(op_type, wide.size());
    const std::vector<Tensor> have = on_halves.run(halves);
    const std::vector<Tensor> want = NodeRunner(op_type, wide.size()).run(exact);
    expect_same_bits(have.at(0), narrowed(want.at(0)));
    expect_same_bits(on_halves.again(halves).at(0), have.at(0));
  }
};

TEST_P(Halves, ConvolutionsTakeConstantWeights) {
  compare("Conv", {random_tensor({2, 3, 7, 5}, 1), random_tensor({4, 3, 3, 3}, 2), random_tensor({4}, 3)});
}
TEST_P(Halves, ProductsTakeConstantOperands) {
  compare("MatMul", {random_tensor({5, 33}, 4), random_tensor({33, 17}, 5)});
  compare("Gemm", {random_tensor({5, 33}, 6), random_tensor({33, 17}, 7), random_tensor({17}, 8)});
}
TEST_P(Halves, RecurrentLayersTakeConstantWeights) {
  NodeRunner runner("LSTM", 3, 2);
  runner.set("hidden_size", std::int64_t{4}).omit_output(0);
  const std::vector<Tensor> wide = {random_tensor({3, 2, 5}, 9), random_tensor({1, 16, 5}, 10),
                                    random_tensor({1, 16, 4}, 11)};
  std::vector<Tensor> halves;
  for (const Tensor& tensor : wide) halves.push_back(narrowed(tensor));
  const Tensor last = runner.run(halves).at(1);
  EXPECT_EQ(last.type(), GetParam());
  EXPECT_EQ(last.shape().text(), "[1,2,4]");
}
TEST_P(Halves, OutputsThatAreDeclaredFloat32StayFloat32) {
  NodeRunner runner("LayerNormalization", 2, 3);
  runner.declare_output(1, DataType::float32).declare_output(2, DataType::float32);
  const std::vector<Tensor> outputs =
      runner.run({narrowed(random_tensor({3, 8}, 12)), narrowed(random_tensor({8}, 13))});
  EXPECT_EQ(outputs.at(0).type(), GetParam());
  EXPECT_EQ(outputs.at(1).type(), DataType::float32);
  EXPECT_EQ(outputs.at(2).type(), DataType::float32);

  // A power of a float32 stays one, whatever the exponent is: 1e5 would be infinite as float16.
  NodeRunner power("Pow", 2);
  power.declare_output(0, DataType::float32);
  const float base[] = {1e5f, 3.0f};
  const float exponent[] = {1.0f, 2.0f};
  const Tensor y = power.run({Tensor::of<float>({2}, base), narrowed(Tensor::of<float>({2}, exponent))}).at(0);
  ASSERT_EQ(y.type(), DataType::float32);
  EXPECT_EQ(y.data<float>()[0], 1e5f);
  EXPECT_EQ(y.data<float>()[1], 9.0f);
}

INSTANTIATE_TEST_SUITE_P(Types, Halves, testing::Values(DataType::float16, DataType::bfloat16),
                         [](const auto& type) { return std::string(name_of(type.param)); });

TEST(Dequantize, GivesTheTypeThatIsAskedFor) {
  NodeRunner runner("DequantizeLinear", 2);
  runner.set("output_dtype", static_cast<std::int64_t>(DataType::float16));
  const std::int8_t codes[] = {-3, 100};
  const float scale[] = {0.5f};
  const Tensor y = runner.run({Tensor::of<std::int8_t>({2}, codes), Tensor::of<float>({}, scale)}).at(0);
  ASSERT_EQ(y.type(), DataType::float16);
  EXPECT_EQ(half_to_float(y.data<std::uint16_t>()[0]), -1.5f);
  EXPECT_EQ(half_to_float(y.data<std::uint16_t>()[1]), 50.0f);
}

}  // namespace
}  // namespace tare::test
