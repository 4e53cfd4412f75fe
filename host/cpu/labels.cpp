// The operators of the ai.onnx.ml domain that prepare data for a network: LabelEncoder, ArrayFeatureExtractor,
// Binarizer. Odd: a NaN among the keys of a LabelEncoder stands for every NaN, though NaN equals nothing elsewhere.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "cpu/arguments.hpp"
#include "cpu/text.hpp"

namespace tare::cpu {
namespace {

template <class T>
Tensor list(const std::vector<T>& values) {
  return Tensor::of<T>({static_cast<std::int64_t>(values.size())}, values);
}

/// keys_… or values_…, in whichever of its four forms it is given.
Tensor list_attribute(const Call& call, const std::string& kind) {
  const Node& node = call.node;
  if (node.has(kind + "_int64s")) return list(node.integers(kind + "_int64s"));
  if (node.has(kind + "_floats")) return list(node.reals(kind + "_floats"));
  if (node.has(kind + "_strings")) return list(node.texts(kind + "_strings"));
  const auto tensor = node.attributes.find(kind + "_tensor");
  if (tensor == node.attributes.end()) call.fail(fmt::format("{} are missing", kind));
  if (const Tensor* numbers = std::get_if<Tensor>(&tensor->second)) return *numbers;
  return list(node.texts(kind + "_tensor"));
}

/// The value of what no key fits, as a tensor of one element.
Tensor default_value(const Call& call, DataType type) {
  const Node& node = call.node;
  if (const auto given = node.attributes.find("default_tensor"); given != node.attributes.end()) {
    const Tensor* number = std::get_if<Tensor>(&given->second);
    Tensor tensor = number != nullptr ? *number : list(node.texts("default_tensor"));
    if (tensor.type() != type || tensor.elements() != 1)
      call.fail(fmt::format("default_tensor must be one {}, not {} {}", name_of(type), name_of(tensor.type()),
                            tensor.shape().text()));
    return tensor;
  }
  switch (type) {
    case DataType::string: return list(std::vector<std::string>{node.text("default_string", "_Unused")});
    case DataType::int64: return list(std::vector<std::int64_t>{node.integer("default_int64", -1)});
    case DataType::float32: return list(std::vector<float>{node.real("default_float", -0.0f)});
    default: call.fail(fmt::format("values of type {} need a default_tensor", name_of(type)));
  }
}

/// For every element of `in` the number of its key, or of the default behind the last one.
template <class T>
std::vector<std::size_t> find_keys(const Tensor& in, const Tensor& keys) {
  const auto none = static_cast<std::size_t>(keys.elements());
  std::unordered_map<T, std::size_t> numbers;
  std::size_t nan = none;
  const auto is_nan = [](const T& value) {
    if constexpr (std::is_floating_point_v<T>) return std::isnan(value);
    return false;
  };
  for (std::size_t i = 0; i < none; ++i) {
    const T& key = keys.data<T>()[i];
    if (is_nan(key))
      nan = i;
    else
      numbers.insert_or_assign(key, i);
  }
  std::vector<std::size_t> found;
  for (const T& value : in.span<T>()) {
    const auto at = numbers.find(value);
    found.push_back(is_nan(value) ? nan : at == numbers.end() ? none : at->second);
  }
  return found;
}

void label_encoder(Call& call) {
  const Tensor in = call.input(0);
  const Tensor keys = list_attribute(call, "keys");
  const Tensor values = list_attribute(call, "values");
  if (keys.elements() != values.elements())
    call.fail(fmt::format("{} keys and {} values", keys.elements(), values.elements()));
  if (in.type() != keys.type())
    call.fail(fmt::format("the keys are {}, the input is {}", name_of(keys.type()), name_of(in.type())));
  const Tensor otherwise = default_value(call, values.type());
  const std::vector<std::size_t> found =
      in.type() == DataType::string ? find_keys<std::string>(in, keys)
                                    : dispatch(in.type(), call, [&]<class T>() { return find_keys<T>(in, keys); });
  const auto count = static_cast<std::size_t>(keys.elements());
  Tensor out = call.device.allocate(values.type(), in.shape());
  const auto place = [&]<class T>() {
    for (std::size_t i = 0; i < found.size(); ++i)
      out.mutable_data<T>()[i] = found[i] < count ? values.data<T>()[found[i]] : *otherwise.data<T>();
  };
  if (values.type() == DataType::string)
    place.operator()<std::string>();
  else
    dispatch_size(values.type(), call, place);
  call.outputs[0] = out;
}

/// Columns of the last axis, by number.
void array_feature_extractor(Call& call) {
  const Tensor in = call.input(0);
  const Tensor wanted = call.input(1);
  if (in.rank() == 0) call.fail("needs at least one axis");
  if (in.type() == DataType::sequence || in.type() == DataType::optional) call.fail("needs a tensor");
  if (wanted.type() != DataType::int64) call.fail(fmt::format("columns must be int64, not {}", name_of(wanted.type())));
  const std::span<const std::int64_t> columns = wanted.span<std::int64_t>();
  const std::int64_t width = in.shape().back();
  for (const std::int64_t column : columns)
    if (column < 0 || column >= width) call.fail(fmt::format("column {} of {}", column, width));
  const std::int64_t rows = in.shape().elements(0, in.rank() - 1);
  Shape shape = in.shape();
  if (in.rank() == 1) shape.insert(0, 1);
  shape.back() = static_cast<std::int64_t>(columns.size());
  Tensor out = call.device.allocate(in.type(), shape);
  const auto gather = [&]<class T>() {
    T* to = out.mutable_data<T>();
    for (std::int64_t r = 0; r < rows; ++r)
      for (const std::int64_t column : columns) *to++ = in.data<T>()[r * width + column];
  };
  if (in.type() == DataType::string)
    gather.operator()<std::string>();
  else
    dispatch_size(in.type(), call, gather);
  call.outputs[0] = out;
}

void binarizer(Call& call) {
  const Tensor in = call.input(0);
  const float threshold = call.node.real("threshold", 0.0f);
  Tensor out = call.device.allocate(in.type(), in.shape());
  dispatch(in.type(), call, [&]<class T>() {
    std::transform(in.data<T>(), in.data<T>() + in.elements(), out.mutable_data<T>(),
                   [=](T x) { return static_cast<T>(static_cast<double>(x) > static_cast<double>(threshold)); });
  });
  call.outputs[0] = out;
}

}  // namespace

void register_labels(OperatorTable& table) {
  table.add("ai.onnx.ml::LabelEncoder",
            Operator{.function = checked<label_encoder>, .half = Half::native, .first_opset = 2, .objects = true});
  table.add("ai.onnx.ml::ArrayFeatureExtractor",
            Operator{.function = checked<array_feature_extractor, 2>, .half = Half::native, .objects = true});
  table.add("ai.onnx.ml::Binarizer", Operator{.function = checked<binarizer>});
}

}  // namespace tare::cpu
