#include "cpu/chain_step.hpp"

#include <algorithm>
#include <span>
#include <string_view>

#include "plan/clip_range.hpp"
#include "tare/quantizer.hpp"

namespace tare::cpu {
namespace {

struct NamedFunction {
  std::string_view name;
  void (*VectorKernels::*loop)(const float*, float*, std::size_t, float, float);
};
constexpr NamedFunction functions[] = {
    {"Abs", &VectorKernels::unary_abs},
    {"Erf", &VectorKernels::unary_erf},
    {"Exp", &VectorKernels::unary_exp},
    {"HardSigmoid", &VectorKernels::unary_hard_sigmoid},
    {"HardSwish", &VectorKernels::unary_hard_swish},
    {"LeakyRelu", &VectorKernels::unary_leaky_relu},
    {"Neg", &VectorKernels::unary_negate},
    {"Relu", &VectorKernels::unary_relu},
    {"Sigmoid", &VectorKernels::unary_sigmoid},
    {"Softplus", &VectorKernels::unary_softplus},
    {"Sqrt", &VectorKernels::unary_sqrt},
    {"Tanh", &VectorKernels::unary_tanh},
};

struct NamedArithmetic {
  std::string_view name;
  BinaryLoops::Loop VectorKernels::*arrays;
  BinaryLoops::Loop VectorKernels::*second_scalar;
  BinaryLoops::Loop VectorKernels::*first_scalar;
};
constexpr NamedArithmetic arithmetic[] = {
    {"Add", &VectorKernels::binary_add_vv, &VectorKernels::binary_add_vs, &VectorKernels::binary_add_sv},
    {"Div", &VectorKernels::binary_divide_vv, &VectorKernels::binary_divide_vs, &VectorKernels::binary_divide_sv},
    {"Mul", &VectorKernels::binary_multiply_vv, &VectorKernels::binary_multiply_vs, &VectorKernels::binary_multiply_sv},
    {"Sub", &VectorKernels::binary_subtract_vv, &VectorKernels::binary_subtract_vs, &VectorKernels::binary_subtract_sv},
};

Operand operand_of(const Graph& steps, ValueId value) {
  if (const Tensor* constant = steps.constant(value))
    return {Operand::Kind::number, 0, *constant->data<float>(), constant->rank()};
  const auto input = std::find(steps.inputs.begin(), steps.inputs.end(), value);
  if (input != steps.inputs.end())
    return {Operand::Kind::input, static_cast<std::size_t>(input - steps.inputs.begin()), 0, 0};
  const auto maker = std::find_if(steps.nodes.begin(), steps.nodes.end(),
                                  [&](const Node& node) { return !node.outputs.empty() && node.outputs[0] == value; });
  return {Operand::Kind::step, static_cast<std::size_t>(maker - steps.nodes.begin()), 0, 0};
}

ChannelAffine<float> affine_of(const Graph& steps, const Node& node) {
  std::vector<std::vector<double>> parameters;
  for (std::size_t i = 1; i < 5; ++i) {
    const Tensor& constant = *steps.constant(node.inputs[i]);
    if (constant.type() != DataType::float32) return {};
    const std::span<const float> values = constant.span<float>();
    parameters.emplace_back(values.begin(), values.end());
    if (parameters.back().size() != parameters.front().size()) return {};
  }
  return channel_affine<float>(parameters[0], parameters[1], parameters[2], parameters[3],
                               static_cast<double>(node.real("epsilon", 1e-5f)));
}

}  // namespace

Quantizer quantizer_of(const Node& node, const VectorKernels& vector) {
  const Tensor& grid = node.tensor("grid");
  const std::span<const double> e = grid.span<double>();
  const bool half_up = static_cast<Rounding>(node.integer("rounding")) == Rounding::half_up;
  return {half_up ? vector.qdq_half_up : vector.qdq_half_even, make_grid(e[0], e[1], e[2], e[3], e[4])};
}

Step step_of(const Graph& steps, const Node& node, const VectorKernels& vector) {
  const std::string& type = node.op_type;
  Step step;
  step.operands = {operand_of(steps, node.inputs[0])};
  for (const NamedArithmetic& named : arithmetic) {
    if (named.name != type) continue;
    step.kind = Step::Kind::binary;
    step.binary = {vector.*named.arrays, vector.*named.second_scalar, vector.*named.first_scalar};
    step.operands.push_back(operand_of(steps, node.inputs[1]));
    return step;
  }
  for (const NamedFunction& named : functions) {
    if (named.name != type) continue;
    step.unary = vector.*named.loop;
    if (type == "LeakyRelu") step.a = node.real("alpha", 0.01f);
    if (type == "HardSigmoid") {
      step.a = node.real("alpha", 0.2f);
      step.b = node.real("beta", 0.5f);
    }
    return step;
  }
  if (type == "Clip") {
    const ClipRange range = clip_range(steps, node).value();
    step.unary = vector.unary_clip;
    step.a = range.low;
    step.b = range.high;
  } else if (type == "BatchNormalization") {
    step.kind = Step::Kind::affine;
    step.affine = affine_of(steps, node);
  } else if (type == "QuantizeDequantize") {
    step.kind = Step::Kind::quantize;
    step.quantizer = quantizer_of(node, vector);
  } else {
    throw Error(ErrorKind::internal, node.label() + " is no part of a chain");
  }
  return step;
}

}  // namespace tare::cpu
