// Operators that change the shape and leave the elements where they are: the output shares the storage of the input.
#include <fmt/format.h>

#include "cpu/arguments.hpp"
#include "cpu/movement.hpp"

namespace tare::cpu {
namespace {

void share(Call& call, const Shape& shape) {
  const DataType type = call.input(0).type();
  if (type == DataType::sequence || type == DataType::optional)
    call.fail(fmt::format("a value of type {} has no shape", name_of(type)));
  call.outputs[0] = call.input(0).reshaped(shape);
}

}  // namespace

Shape reshaped_shape(const Call& call, const Shape& from, std::span<const std::int64_t> wanted, bool allow_zero) {
  const std::int64_t elements = from.elements();
  Shape shape(wanted.begin(), wanted.end());
  std::size_t inferred = shape.rank();
  std::int64_t known = 1;
  for (std::size_t i = 0; i < shape.rank(); ++i) {
    if (shape[i] == -1) {
      if (inferred != shape.rank()) call.fail(fmt::format("shape {} has more than one -1", shape.text()));
      inferred = i;
      continue;
    }
    if (shape[i] < 0) call.fail(fmt::format("shape {} has a negative dimension", shape.text()));
    if (shape[i] == 0 && !allow_zero) {
      if (i >= from.rank())
        call.fail(fmt::format("shape {} copies a dimension that {} lacks", shape.text(), from.text()));
      shape[i] = from[i];
    }
  }
  for (std::size_t i = 0; i < shape.rank(); ++i)
    if (i != inferred && shape[i] == 0) known = 0;
  for (std::size_t i = 0; known != 0 && i < shape.rank(); ++i)
    if (i != inferred) known = checked_product(call, known, shape[i]);
  if (inferred != shape.rank()) {
    if (known == 0 && elements == 0 && !allow_zero)
      shape[inferred] = 0;
    else if (known == 0 || elements % known != 0)
      call.fail(fmt::format("shape {} does not divide {}", shape.text(), from.text()));
    else
      shape[inferred] = elements / known;
    known = elements;
  }
  if (known != elements) call.fail(fmt::format("cannot give {} the shape {}", from.text(), shape.text()));
  return shape;
}

namespace {

void reshape(Call& call) {
  const std::vector<std::int64_t> wanted =
      call.inputs.size() > 1 ? integers_of(call, 1, "shape") : call.node.integers("shape");
  share(call, reshaped_shape(call, call.input(0).shape(), wanted, call.node.integer("allowzero", 0) != 0));
}

void flatten(Call& call) {
  const Shape& shape = call.input(0).shape();
  const std::size_t axis = axis_of(call, call.node.integer("axis", 1), shape.rank(), true);
  // A negative axis counts from the rank here, not from the rank plus one.
  const std::size_t at = call.node.integer("axis", 1) < 0 ? axis - 1 : axis;
  if (axis == 0 && call.node.integer("axis", 1) < 0) call.fail("axis is out of range");
  share(call, {shape.elements(0, at), shape.elements(at, shape.rank())});
}

std::vector<std::int64_t> axes_argument(Call& call) {
  return call.has(1) ? integers_of(call, 1, "axes") : call.node.integers("axes");
}

void squeeze(Call& call) {
  const Shape& shape = call.input(0).shape();
  const bool all = !call.has(1) && !call.node.has("axes");
  std::vector<bool> dropped(shape.rank(), false);
  for (const std::size_t axis : unique_axes(call, axes_argument(call), shape.rank())) {
    if (shape[axis] != 1) call.fail(fmt::format("dimension {} of {} is not 1", axis, shape.text()));
    dropped[axis] = true;
  }
  Shape result;
  for (std::size_t i = 0; i < shape.rank(); ++i)
    if (!dropped[i] && !(all && shape[i] == 1)) result.push_back(shape[i]);
  share(call, result);
}

void unsqueeze(Call& call) {
  const Shape& shape = call.input(0).shape();
  const std::vector<std::int64_t> axes = axes_argument(call);
  Shape result(shape.rank() + axes.size(), -1);
  for (const std::size_t axis : unique_axes(call, axes, result.rank())) result[axis] = 1;
  std::size_t next = 0;
  for (std::int64_t& dim : result)
    if (dim == -1) dim = shape[next++];
  share(call, result);
}

}  // namespace

void register_reshape(OperatorTable& table) {
  const auto add = [&](std::string_view name, Function function) {
    table.add(name, Operator{.function = function, .half = Half::native, .objects = true});
  };
  add("Reshape", checked<reshape>);
  add("Flatten", checked<flatten>);
  add("Squeeze", checked<squeeze>);
  add("Unsqueeze", checked<unsqueeze>);
}

}  // namespace tare::cpu
