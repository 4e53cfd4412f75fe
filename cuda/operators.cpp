// The table of the CUDA backend's operators.
#include "operators.hpp"

#include <algorithm>
#include <array>

#include "cpu/strided_copy.hpp"
#include "float_element.hpp"

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
    const bool drops =
        !call.has(1) || call.input(1).elements() != 1 || cpu::scalar_as_double(call, widen_on_host(call.input(1))) != 0;
    if (*training.data<std::uint8_t>() != 0 && drops)
      call.fail("training_mode is true: dropout cannot be trained here, export the model for inference");
  }
  call.outputs[0] = x;
  if (!call.wants(1)) return;
  const bool typed = call.node.opset != 0 && call.node.opset < 10;
  Tensor& mask = call.output(1, typed ? x.type() : DataType::boolean, x.shape());
  std::uint32_t kept = 1;
  if (typed) store_float(&kept, 0, 1.0f, x.type());
  if (mask.elements() > 0) cpu::fill(call.device, size_of(mask.type()), &kept, mask.mutable_data(), mask.elements());
}

/// Halves to the nearest pixel are moved, as integers of their size; what is interpolated is computed in float32.
void resize(Call& call) {
  const Tensor in = call.input(0);
  for (std::size_t i = 1; i < call.inputs.size(); ++i) call.inputs[i] = widen_on_host(call.inputs[i]);
  const cpu::Function on_any_device = cpu::operator_table().find(call.node)->function;
  if (in.type() == DataType::float32) return on_any_device(call);
  const bool moves = call.node.text("mode", "nearest") == "nearest" &&
                     call.node.text("coordinate_transformation_mode", "") != "tf_crop_and_resize";
  call.inputs[0] = moves ? Tensor(DataType::uint16, in.shape(), in.storage()) : widen(device_of(call), in);
  on_any_device(call);
  const Tensor& out = call.outputs[0];
  call.outputs[0] = moves ? Tensor(in.type(), out.shape(), out.storage()) : narrow(device_of(call), out, in.type());
}

void register_shared(OperatorTable& table) {
  constexpr Places first{.device = 1};
  for (const std::string_view name :
       {"CenterCropPad", "DepthToSpace", "Expand", "Flatten", "Identity", "Reshape", "Slice", "SpaceToDepth", "Split",
        "Squeeze", "Tile", "Transpose", "Unsqueeze", "tare::ChannelShuffle"})
    table.share(name, first);
  table.add("Shape", cpu::checked<ask_shape>, cpu::Half::native, first);
  table.add("Size", cpu::checked<ask_shape>, cpu::Half::native, first);
  table.add("Dropout", cpu::checked<dropout>, cpu::Half::native, {.host = 2});
  table.share("Concat", {.device = Places::all});
  table.share("TensorScatter", {.device = 1u << 0 | 1u << 1});
  table.share("Pad", {.host = 1u << 2, .device = 1});
  table.add("Resize", cpu::Operator{.function = cpu::checked<resize>, .half = cpu::Half::native, .first_opset = 10},
            {.host = 1u << 1 | 1u << 2});
  table.add("Upsample", cpu::Operator{.function = cpu::checked<resize>, .half = cpu::Half::native, .first_opset = 7},
            {.host = 1u << 1});
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
    register_attention(t);
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
    register_rotary_embedding(t);
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

Tensor widen_on_host(const Tensor& tensor) {
  if (!is_quantizable(tensor.type()) || tensor.type() == DataType::float32) return tensor;
  Tensor wide = Tensor::host(DataType::float32, tensor.shape());
  for (std::int64_t i = 0; i < tensor.elements(); ++i) wide.mutable_data<float>()[i] = FloatInput(tensor)[i];
  return wide;
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
