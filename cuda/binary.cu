// Arithmetic, comparison and selection over broadcast float operands. Odd: variadic operators fold pairwise from the
// left, as on the host; Max and Min let a NaN of either side pass as the host's order of operands does.
#include <cmath>

#include "elementwise.hpp"
#include "tare/elementary.hpp"

namespace tare::cuda {

Nest<2> nest_of(const cpu::Broadcast& plan) {
  Nest<2> nest;
  for (std::size_t d = 0; d < plan.dims.rank(); ++d) nest.add(plan.dims[d], {plan.strides[0][d], plan.strides[1][d]});
  return nest;
}

namespace {

struct Add {
  TARE_HD float operator()(float x, float y) const { return x + y; }
};
struct Subtract {
  TARE_HD float operator()(float x, float y) const { return x - y; }
};
struct Multiply {
  TARE_HD float operator()(float x, float y) const { return x * y; }
};
struct Divide {
  TARE_HD float operator()(float x, float y) const { return x / y; }
};
struct Prelu {
  TARE_HD float operator()(float x, float y) const { return x < 0 ? x * y : x; }
};
struct Maximum {
  TARE_HD float operator()(float x, float y) const { return elementary::maximum(x, y); }
};
struct Minimum {
  TARE_HD float operator()(float x, float y) const { return elementary::minimum(x, y); }
};
struct Remainder {
  TARE_HD float operator()(float x, float y) const { return ::fmodf(x, y); }
};
struct Power {
  TARE_HD float operator()(float x, float y) const { return ::powf(x, y); }
};
/// Exponents that normalisations use, as the host computes them.
struct Square {
  TARE_HD float operator()(float x) const { return x * x; }
};
struct Inverse {
  TARE_HD float operator()(float x) const { return 1.0f / x; }
};
struct Root {
  TARE_HD float operator()(float x) const {
    return x == -elementary::infinity ? elementary::infinity : ::sqrtf(x + 0.0f);
  }
};

struct Equal {
  TARE_HD bool operator()(float x, float y) const { return x == y; }
};
struct Greater {
  TARE_HD bool operator()(float x, float y) const { return x > y; }
};
struct GreaterOrEqual {
  TARE_HD bool operator()(float x, float y) const { return x >= y; }
};
struct Less {
  TARE_HD bool operator()(float x, float y) const { return x < y; }
};
struct LessOrEqual {
  TARE_HD bool operator()(float x, float y) const { return x <= y; }
};

void require_floats(const Call& call, const Tensor& a, const Tensor& b) {
  if (a.type() != b.type())
    call.fail("operands of types " + std::string(name_of(a.type())) + " and " + std::string(name_of(b.type())));
  if (!is_quantizable(a.type())) cpu::fail_type(call, a.type());
}

/// The result is of the type `type`, whatever the operands are.
template <class Formula>
Tensor arithmetic(const Call& call, const Tensor& a, const Tensor& b, DataType type, Formula formula) {
  const cpu::Broadcast plan = cpu::plan_broadcast(call, {&a, &b});
  Tensor result = cpu::reuse_or_allocate(call.device, a, b, type, plan);
  combine_floats(plan, a, b, result, stream_of(call), formula);
  return result;
}

template <class Predicate>
void compare(Call& call) {
  cpu::require_inputs(call, 2);
  const Tensor a = call.input(0);
  const Tensor b = call.input(1);
  require_floats(call, a, b);
  const cpu::Broadcast plan = cpu::plan_broadcast(call, {&a, &b});
  Tensor& result = call.output(0, DataType::boolean, plan.shape);
  combine(plan, a, b, result.mutable_data<std::uint8_t>(), stream_of(call), Predicate{});
}

struct And {
  TARE_HD bool operator()(bool x, bool y) const { return x && y; }
};
struct Or {
  TARE_HD bool operator()(bool x, bool y) const { return x || y; }
};
struct Xor {
  TARE_HD bool operator()(bool x, bool y) const { return x != y; }
};
/// Of masks, which comparisons leave on the device.
template <class Formula>
void logic(Call& call) {
  cpu::require_inputs(call, 2);
  const Tensor a = call.input(0);
  const Tensor b = call.input(1);
  for (const Tensor& operand : {a, b})
    if (operand.type() != DataType::boolean) cpu::fail_type(call, operand.type());
  const cpu::Broadcast plan = cpu::plan_broadcast(call, {&a, &b});
  Tensor& result = call.output(0, DataType::boolean, plan.shape);
  Nest<2> nest = nest_of(plan);
  const std::int64_t steps = nest.finish();
  const auto* first = a.data<std::uint8_t>();
  const auto* second = b.data<std::uint8_t>();
  auto* out = result.mutable_data<std::uint8_t>();
  for_each(steps, stream_of(call), [=] __device__(std::int64_t i) {
    const auto at = nest.at(i);
    out[i] = Formula{}(first[at.of[0]] != 0, second[at.of[1]] != 0);
  });
}

/// `tensor` with ones appended until it reaches from `axis` to the end of a shape of this rank.
Tensor with_trailing_ones(const Tensor& tensor, std::size_t rank, std::size_t axis) {
  Shape shape = tensor.shape();
  while (shape.rank() + axis < rank) shape.push_back(1);
  return tensor.reshaped(shape);
}

template <class Formula>
void binary(Call& call) {
  cpu::require_inputs(call, 2);
  const Shape shape = call.input(0).shape();
  if (call.node.opset == 6 && call.node.has("axis")) {
    const std::size_t axis = cpu::axis_of(call, call.node.integer("axis"), shape.rank());
    call.inputs[1] = with_trailing_ones(call.inputs[1], shape.rank(), axis);
  }
  require_floats(call, call.inputs[0], call.inputs[1]);
  call.outputs[0] = arithmetic(call, call.inputs[0], call.inputs[1], call.inputs[0].type(), Formula{});
}

void prelu_of(Call& call) {
  cpu::require_inputs(call, 2);
  const Tensor& x = call.input(0);
  const bool by_channel = call.node.opset == 6 && call.input(1).rank() == 1 && x.rank() > 1;
  if (by_channel) call.inputs[1] = with_trailing_ones(call.inputs[1], x.rank(), 1);
  const Tensor& slope = call.input(1);
  if (!(cpu::broadcast(call, x.shape(), slope.shape()) == x.shape()))
    call.fail("slope of shape " + slope.shape().text() + " does not broadcast to " + x.shape().text());
  require_floats(call, x, slope);
  call.outputs[0] = arithmetic(call, x, slope, x.type(), Prelu{});
}

struct PowerOf {
  float exponent;
  TARE_HD float operator()(float x) const { return ::powf(x, exponent); }
};
/// The exponent, of any type, lies on the host: it is a constant nearly always.
void power_of(Call& call) {
  cpu::require_inputs(call, 2);
  const Tensor base = call.input(0);
  const Tensor exponent = widen_on_host(call.input(1));
  if (!is_quantizable(base.type())) cpu::fail_type(call, base.type());
  std::vector<float> values;
  cpu::dispatch(exponent.type(), call, [&]<class T>() {
    for (const T value : exponent.span<T>()) values.push_back(static_cast<float>(value));
  });
  if (values.size() == 1 && exponent.rank() <= base.rank()) {
    const auto each = [&](auto formula) {
      Tensor& result = call.output(0, base.type(), base.shape());
      map_floats(base, result, base.elements(), stream_of(call), formula);
    };
    if (values[0] == 2.0f) return each(Square{});
    if (values[0] == -1.0f) return each(Inverse{});
    if (values[0] == 0.5f) return each(Root{});
    if (values[0] == 1.0f) {
      call.outputs[0] = base;
      return;
    }
    return each(PowerOf{values[0]});
  }
  const Tensor list = device_of(call).upload_to<float>(values);
  call.outputs[0] = arithmetic(call, base, list.reshaped(exponent.shape()), base.type(), Power{});
}

void modulo_of(Call& call) {
  if (call.node.integer("fmod", 0) == 0) call.fail("fmod must be 1 for floating-point operands");
  binary<Remainder>(call);
}

/// All inputs but the last two are folded to float32: the result is rounded once, to `type`.
template <class Formula>
Tensor fold(Call& call, DataType type) {
  cpu::require_inputs(call, std::max<std::size_t>(call.inputs.size(), 1));
  for (const Tensor& input : call.inputs) require_floats(call, call.inputs[0], input);
  Tensor result = std::move(call.inputs[0]);
  for (std::size_t i = 1; i < call.inputs.size(); ++i)
    result = arithmetic(call, result, call.input(i), i + 1 == call.inputs.size() ? type : DataType::float32, Formula{});
  return result;
}
template <class Formula>
void variadic(Call& call) {
  cpu::require_inputs(call, 1);
  call.outputs[0] = fold<Formula>(call, call.input(0).type());
}

struct DivideBy {
  float divisor;
  TARE_HD float operator()(float x) const { return x / divisor; }
};
void mean_of(Call& call) {
  cpu::require_inputs(call, 1);
  const auto count = static_cast<float>(call.inputs.size());
  const DataType type = call.input(0).type();
  const Tensor sum = fold<Add>(call, DataType::float32);
  Tensor result = sum.unique() && sum.type() == type ? sum : call.device.allocate(type, sum.shape());
  map_floats(sum, result, sum.elements(), stream_of(call), DivideBy{count});
  call.outputs[0] = result;
}

/// Three operands: the condition a byte, the others of any one type.
template <class T>
void choose(const Nest<3>& nest, std::int64_t steps, const std::uint8_t* condition, const void* first,
            const void* second, void* to, StreamView stream) {
  const T* a = static_cast<const T*>(first);
  const T* b = static_cast<const T*>(second);
  T* out = static_cast<T*>(to);
  for_each(steps, stream, [=] __device__(std::int64_t i) {
    const auto at = nest.at(i);
    out[i] = condition[at.of[0]] != 0 ? a[at.of[1]] : b[at.of[2]];
  });
}

void where_of(Call& call) {
  cpu::require_inputs(call, 3);
  const Tensor condition = call.input(0);
  const Tensor a = call.input(1);
  const Tensor b = call.input(2);
  if (condition.type() != DataType::boolean) call.fail("the condition must be boolean");
  if (a.type() != b.type())
    call.fail("operands of types " + std::string(name_of(a.type())) + " and " + std::string(name_of(b.type())));
  const cpu::Broadcast plan = cpu::plan_broadcast(call, {&condition, &a, &b});
  Tensor& result = call.output(0, a.type(), plan.shape);
  Nest<3> nest;
  for (std::size_t d = 0; d < plan.dims.rank(); ++d)
    nest.add(plan.dims[d], {plan.strides[0][d], plan.strides[1][d], plan.strides[2][d]});
  const std::int64_t steps = nest.finish();
  const auto run = [&](auto element) {
    choose<decltype(element)>(nest, steps, condition.data<std::uint8_t>(), a.data(), b.data(), result.mutable_data(),
                              stream_of(call));
  };
  switch (size_of(a.type())) {
    case 1: return run(std::uint8_t{});
    case 2: return run(std::uint16_t{});
    case 4: return run(std::uint32_t{});
    case 8: return run(std::uint64_t{});
    default: cpu::fail_type(call, a.type());
  }
}

}  // namespace

void register_binary(OperatorTable& table) {
  const auto add = [&](std::string_view name, cpu::Function function, Places places = {}) {
    table.add(name, cpu::Operator{.function = function, .half = cpu::Half::native, .first_opset = 6}, places);
  };
  constexpr Places masks{.device = 3};
  add("Add", binary<Add>);
  add("And", logic<And>, masks);
  add("Div", binary<Divide>);
  add("Equal", compare<Equal>);
  add("Greater", compare<Greater>);
  add("GreaterOrEqual", compare<GreaterOrEqual>);
  add("Less", compare<Less>);
  add("LessOrEqual", compare<LessOrEqual>);
  add("Max", variadic<Maximum>);
  add("Mean", mean_of);
  add("Min", variadic<Minimum>);
  add("Mod", modulo_of);
  add("Mul", binary<Multiply>);
  add("Or", logic<Or>, masks);
  add("Pow", power_of, {.host = 2});
  add("PRelu", prelu_of);
  add("Sub", binary<Subtract>);
  add("Sum", variadic<Add>);
  add("Xor", logic<Xor>, masks);
  // A mask comes from the host or from a comparison; the values may be integers, too.
  table.add("Where", where_of, cpu::Half::native, {.device = 7});
}

}  // namespace tare::cuda
