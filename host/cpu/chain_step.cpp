#include "cpu/chain_step.hpp"

#include <algorithm>
#include <span>
#include <string_view>

#include "model/real_element.hpp"
#include "plan/clip_range.hpp"
#include "plan/row_operation.hpp"
#include "tare/quantizer.hpp"

namespace tare::cpu {
namespace {

struct NamedFunction {
  std::string_view name;
  Formula formula;
  void (*VectorKernels::*loop)(const float*, float*, std::size_t, float, float);
};
constexpr NamedFunction functions[] = {
    {"Abs", Formula::absolute, &VectorKernels::unary_abs},
    {"Erf", Formula::erf, &VectorKernels::unary_erf},
    {"Exp", Formula::exp, &VectorKernels::unary_exp},
    {"HardSigmoid", Formula::hard_sigmoid, &VectorKernels::unary_hard_sigmoid},
    {"HardSwish", Formula::hard_swish, &VectorKernels::unary_hard_swish},
    {"LeakyRelu", Formula::leaky_relu, &VectorKernels::unary_leaky_relu},
    {"Neg", Formula::negate, &VectorKernels::unary_negate},
    {"Relu", Formula::relu, &VectorKernels::unary_relu},
    {"Sigmoid", Formula::sigmoid, &VectorKernels::unary_sigmoid},
    {"Softplus", Formula::softplus, &VectorKernels::unary_softplus},
    {"Sqrt", Formula::sqrt, &VectorKernels::unary_sqrt},
    {"Tanh", Formula::tanh, &VectorKernels::unary_tanh},
};

struct NamedArithmetic {
  std::string_view name;
  Formula formula;
  BinaryLoops::Loop VectorKernels::*arrays;
  BinaryLoops::Loop VectorKernels::*second_scalar;
  BinaryLoops::Loop VectorKernels::*first_scalar;
};
constexpr NamedArithmetic arithmetic[] = {
    {"Add", Formula::add, &VectorKernels::binary_add_vv, &VectorKernels::binary_add_vs, &VectorKernels::binary_add_sv},
    {"Div", Formula::divide, &VectorKernels::binary_divide_vv, &VectorKernels::binary_divide_vs,
     &VectorKernels::binary_divide_sv},
    {"Mul", Formula::multiply, &VectorKernels::binary_multiply_vv, &VectorKernels::binary_multiply_vs,
     &VectorKernels::binary_multiply_sv},
    {"Sub", Formula::subtract, &VectorKernels::binary_subtract_vv, &VectorKernels::binary_subtract_vs,
     &VectorKernels::binary_subtract_sv},
};

Operand operand_of(const Graph& steps, ValueId value) {
  if (const Tensor* constant = steps.constant(value))
    return {Operand::Kind::number, 0, real_element(*constant, 0), constant->rank()};
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
    if (!is_quantizable(constant.type())) return {};
    std::vector<double>& values = parameters.emplace_back();
    for (std::int64_t k = 0; k < constant.elements(); ++k)
      values.push_back(static_cast<double>(real_element(constant, k)));
    if (parameters.back().size() != parameters.front().size()) return {};
  }
  return channel_affine<float>(parameters[0], parameters[1], parameters[2], parameters[3],
                               static_cast<double>(node.real("epsilon", 1e-5f)));
}

std::vector<float> numbers_of(const Graph& steps, const Node& node, std::size_t input) {
  std::vector<float> numbers;
  const Tensor* constant = node.input(input) == absent ? nullptr : steps.constant(node.input(input));
  for (std::int64_t k = 0; constant != nullptr && k < constant->elements(); ++k)
    numbers.push_back(real_element(*constant, k));
  return numbers;
}

RowOperation row_operation_of(const Graph& steps, const Node& node) {
  using Kind = RowOperation::Kind;
  RowOperation row;
  row.kind = node.op_type == "LayerNormalization" ? Kind::layer_normalization
             : node.op_type == "RMSNormalization" ? Kind::rms_normalization
             : node.op_type == "LogSoftmax"       ? Kind::log_softmax
                                                  : Kind::softmax;
  row.axis = row_axis(node);
  row.epsilon = static_cast<double>(node.real("epsilon", 1e-5f));
  row.scales = numbers_of(steps, node, 1);
  if (row.kind == Kind::layer_normalization) row.biases = numbers_of(steps, node, 2);
  return row;
}

}  // namespace

Quantizer quantizer_of(const Node& node, const VectorKernels& vector) {
  const Tensor& grid = node.tensor("grid");
  const std::span<const double> e = grid.span<double>();
  const auto rounding = static_cast<Rounding>(node.integer("rounding"));
  return {rounding == Rounding::half_up ? vector.qdq_half_up : vector.qdq_half_even,
          make_grid(e[0], e[1], e[2], e[3], e[4]), rounding};
}

Step step_of(const Graph& steps, const Node& node, const VectorKernels& vector) {
  const std::string& type = node.op_type;
  Step step;
  step.operands = {operand_of(steps, node.inputs[0])};
  for (const NamedArithmetic& named : arithmetic) {
    if (named.name != type) continue;
    step.kind = Step::Kind::binary;
    step.formula = named.formula;
    step.binary = {vector.*named.arrays, vector.*named.second_scalar, vector.*named.first_scalar};
    step.operands.push_back(operand_of(steps, node.inputs[1]));
    return step;
  }
  for (const NamedFunction& named : functions) {
    if (named.name != type) continue;
    step.unary = vector.*named.loop;
    step.formula = named.formula;
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
    step.formula = Formula::clip;
    step.a = range.low;
    step.b = range.high;
  } else if (type == "BatchNormalization") {
    step.kind = Step::Kind::affine;
    step.affine = affine_of(steps, node);
  } else if (type == "QuantizeDequantize") {
    step.kind = Step::Kind::quantize;
    step.quantizer = quantizer_of(node, vector);
  } else if (is_row_operation(node)) {
    step.kind = Step::Kind::row;
    step.row = row_operation_of(steps, node);
  } else {
    throw Error(ErrorKind::internal, node.label() + " is no part of a chain");
  }
  return step;
}

}  // namespace tare::cpu
