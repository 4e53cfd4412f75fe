// Comparisons, logic, bits and selection over broadcast operands.
// Odd: booleans are read as bytes, any byte but 0 being true: a file may hold others than 1.
#include "cpu/binary.hpp"

namespace tare::cpu {
namespace {

using Byte = std::uint8_t;

template <class Predicate>
void compare(Call& call, Predicate&& holds) {
  require_inputs(call, 2);
  const Tensor& a = call.input(0);
  const Tensor& b = call.input(1);
  require_same_type(call, a, b);
  dispatch_numbers(a.type(), call,
                   [&]<class T>() { call.outputs[0] = combine<T, T, bool>(call, a, b, DataType::boolean, holds); });
}

template <class Formula>
void logic(Call& call, Formula&& f) {
  require_inputs(call, 2);
  const Tensor& a = call.input(0);
  const Tensor& b = call.input(1);
  require_same_type(call, a, b);
  if (a.type() != DataType::boolean) fail_type(call, a.type());
  call.outputs[0] = combine<Byte, Byte, Byte>(call, a, b, DataType::boolean,
                                              [&](Byte x, Byte y) { return static_cast<Byte>(f(x != 0, y != 0)); });
}

void equal_of(Call& call) {
  if (call.has(0) && call.input(0).type() == DataType::boolean)
    return logic(call, [](bool x, bool y) { return x == y; });
  if (call.has(0) && call.has(1) && call.input(0).type() == DataType::string) {
    require_same_type(call, call.input(0), call.input(1));
    call.outputs[0] =
        combine<std::string, std::string, bool>(call, call.input(0), call.input(1), DataType::boolean,
                                                [](const std::string& x, const std::string& y) { return x == y; });
    return;
  }
  compare(call, [](auto x, auto y) { return x == y; });
}
void greater_of(Call& call) {
  compare(call, [](auto x, auto y) { return x > y; });
}
void greater_or_equal_of(Call& call) {
  compare(call, [](auto x, auto y) { return x >= y; });
}
void less_of(Call& call) {
  compare(call, [](auto x, auto y) { return x < y; });
}
void less_or_equal_of(Call& call) {
  compare(call, [](auto x, auto y) { return x <= y; });
}
void and_of(Call& call) {
  logic(call, [](bool x, bool y) { return x && y; });
}
void or_of(Call& call) {
  logic(call, [](bool x, bool y) { return x || y; });
}
void xor_of(Call& call) {
  logic(call, [](bool x, bool y) { return x != y; });
}

template <class Formula>
void bits(Call& call, Formula&& f) {
  require_inputs(call, 2);
  const Tensor& a = call.input(0);
  const Tensor& b = call.input(1);
  require_same_type(call, a, b);
  if (!is_integer(a.type())) fail_type(call, a.type());
  dispatch_size(a.type(), call, [&]<class T>() { call.outputs[0] = combine<T, T, T>(call, a, b, a.type(), f); });
}

void bitwise_and_of(Call& call) {
  bits(call, []<class T>(T x, T y) { return static_cast<T>(x & y); });
}
void bitwise_or_of(Call& call) {
  bits(call, []<class T>(T x, T y) { return static_cast<T>(x | y); });
}
void bitwise_xor_of(Call& call) {
  bits(call, []<class T>(T x, T y) { return static_cast<T>(x ^ y); });
}

void bit_shift_of(Call& call) {
  const std::string direction = call.node.text("direction");
  if (direction != "LEFT" && direction != "RIGHT")
    call.fail("direction must be 'LEFT' or 'RIGHT', not '" + direction + "'");
  const bool left = direction == "LEFT";
  bits(call, [left]<class T>(T x, T y) {
    if (y >= sizeof(T) * 8) return T{0};
    return left ? static_cast<T>(static_cast<Wrapping<T>>(x) << y) : static_cast<T>(x >> y);
  });
}

void where_of(Call& call) {
  require_inputs(call, 3);
  const Tensor& condition = call.input(0);
  const Tensor& a = call.input(1);
  const Tensor& b = call.input(2);
  if (condition.type() != DataType::boolean) call.fail("the condition must be boolean");
  require_same_type(call, a, b);
  const Broadcast plan = plan_broadcast(call, {&condition, &a, &b});
  Tensor result = reuse_or_allocate(call.device, a, b, a.type(), plan);
  dispatch_size(a.type(), call, [&]<class T>() {
    const Byte* chooses = condition.data<Byte>();
    const T* first = a.data<T>();
    const T* second = b.data<T>();
    T* out = result.mutable_data<T>();
    const std::int64_t steps[3] = {plan.row_stride(0), plan.row_stride(1), plan.row_stride(2)};
    for_each_run(call.device, plan, binary_grain, [&](const Broadcast::Offsets& at, std::int64_t to, std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i) {
        const T x = first[at[1] + i * steps[1]];
        const T y = second[at[2] + i * steps[2]];
        out[to + i] = chooses[at[0] + i * steps[0]] != 0 ? x : y;
      }
    });
  });
  call.outputs[0] = std::move(result);
}

}  // namespace

void register_binary_logic(OperatorTable& table) {
  const auto add = [&](std::string_view name, Function function, Half half = Half::widen) {
    table.add(name, Operator{.function = function, .half = half, .channels_last = true, .first_opset = 7});
  };
  add("And", and_of);
  add("BitShift", bit_shift_of);
  add("BitwiseAnd", bitwise_and_of);
  add("BitwiseOr", bitwise_or_of);
  add("BitwiseXor", bitwise_xor_of);
  table.add("Equal", Operator{.function = equal_of, .channels_last = true, .first_opset = 7, .objects = true});
  add("Greater", greater_of);
  add("GreaterOrEqual", greater_or_equal_of);
  add("Less", less_of);
  add("LessOrEqual", less_or_equal_of);
  add("Or", or_of);
  add("Where", where_of, Half::native);
  add("Xor", xor_of);
}

}  // namespace tare::cpu
