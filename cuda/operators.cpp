// The table of the CUDA backend's operators.
#include "operators.hpp"

#include <algorithm>
#include <array>

#include "cpu/strided_copy.hpp"

namespace tare::cuda {
namespace {

std::string key_of(const Node& node) { return node.domain.empty() ? node.op_type : node.domain + "::" + node.op_type; }

/// Shape and Size read nothing but the shape; the answer is the host's.
void ask_shape(Call& call) {
  cpu::Call on_host{call.node, device_of(call).host(), call.inputs, call.outputs};
  cpu::operator_table().find(call.node)->function(on_host);
}

/// Inference only: the data passes and nothing is masked.
void dropout(Call& call) {
  const Tensor x = call.input(0);
  if (call.has(2)) {
    const Tensor& training = call.input(2);
    if (training.type() != DataType::boolean || training.elements() != 1)
      call.fail("training_mode must be one boolean");
    const bool drops = !call.has(1) || call.input(1).elements() != 1 || cpu::scalar_as_double(call, call.input(1)) != 0;
    if (*training.data<std::uint8_t>() != 0 && drops)
      call.fail("training_mode is true: dropout cannot be trained here, export the model for inference");
  }
  call.outputs[0] = x;
  if (!call.wants(1)) return;
  const bool typed = call.node.opset != 0 && call.node.opset < 10;
  Tensor& mask = call.output(1, typed ? DataType::float32 : DataType::boolean, x.shape());
  const float one = 1;
  const bool kept = true;
  if (mask.elements() > 0)
    cpu::fill(call.device, size_of(mask.type()), typed ? static_cast<const void*>(&one) : &kept, mask.mutable_data(),
              mask.elements());
}

void register_shared(OperatorTable& table) {
  constexpr Places first{.device = 1};
  for (const std::string_view name : {"CenterCropPad", "DepthToSpace", "Expand", "Flatten", "Identity", "Reshape",
                                      "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"})
    table.share(name, first);
  table.add("Shape", cpu::checked<ask_shape>, cpu::Half::native, first);
  table.add("Size", cpu::checked<ask_shape>, cpu::Half::native, first);
  table.add("Dropout", cpu::checked<dropout>, cpu::Half::widen, {.host = 2});
  table.share("Concat", {.device = Places::all});
  table.share("Pad", {.host = 1u << 2, .device = 1});
  table.share("Resize", {.host = 1u << 1 | 1u << 2});
  table.share("Upsample", {.host = 1u << 1});
}

}  // namespace

void OperatorTable::share(std::string_view name, Places places) {
  Node node;
  node.op_type = name;
  const cpu::Operator* op = cpu::operator_table().find(node);
  if (op == nullptr) throw Error(ErrorKind::internal, "no operator " + node.op_type + " on the host");
  cpu::Operator shared = *op;
  shared.channels_last = false;
  add(name, shared, places);
}

const Operator* OperatorTable::find(const Node& node) const {
  const auto it = operators_.find(key_of(node));
  return it == operators_.end() ? nullptr : &it->second;
}

const OperatorTable& operator_table() {
  static const OperatorTable table = [] {
    OperatorTable t;
    register_shared(t);
    register_binary(t);
    register_cast(t);
    register_chain(t);
    register_convolution(t);
    register_indexing(t);
    register_linear_algebra(t);
    register_loss(t);
    register_matmul(t);
    register_normalization(t);
    register_pooling(t);
    register_quantize_linear(t);
    register_recurrent(t);
    register_reduction(t);
    register_sampling(t);
    register_selection(t);
    register_signal(t);
    register_softmax(t);
    register_sorting(t);
    register_unary(t);
    return t;
  }();
  return table;
}

void run_on_host(Call& call) {
  for (Tensor& input : call.inputs) input = device_of(call).download(input);
  cpu::Call on_host{call.node, device_of(call).host(), call.inputs, call.outputs};
  cpu::operator_table().find(call.node)->function(on_host);
}

bool belongs_to_host(const Node& node) {
  static constexpr std::string_view names[] = {
      "Bernoulli",     "BlackmanWindow", "Constant",         "ConstantOfShape", "EyeLike",
      "HammingWindow", "HannWindow",     "MelWeightMatrix",  "Multinomial",     "NonMaxSuppression",
      "OneHot",        "RandomNormal",   "RandomNormalLike", "RandomUniform",   "RandomUniformLike",
      "Range"};
  if (node.domain.empty() && std::find(std::begin(names), std::end(names), node.op_type) != std::end(names))
    return true;
  const cpu::Operator* op = cpu::operator_table().find(node);
  return op != nullptr && op->objects && operator_table().find(node) == nullptr;
}

}  // namespace tare::cuda
