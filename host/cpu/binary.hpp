// The engine under the element-wise operators of two operands.
#pragma once

#include "cpu/broadcast.hpp"
#include "cpu/elementwise.hpp"
#include "cpu/vector.hpp"

namespace tare::cpu {

inline constexpr std::int64_t binary_grain = 16384;

/// The three forms of a float32 loop: two arrays, second scalar, first scalar.
struct BinaryLoops {
  using Loop = void (*)(const float*, const float*, float*, std::size_t);
  Loop arrays;
  Loop second_scalar;
  Loop first_scalar;
};

/// f(a, b) over broadcast operands of types A and B. `type` is Out's element type. Overwrites `a` or `b` when it may.
template <class A, class B, class Out, class Formula>
Tensor combine(const Call& call, const Tensor& a, const Tensor& b, DataType type, Formula&& f) {
  const Broadcast plan = plan_broadcast(call, {&a, &b});
  Tensor result = reuse_or_allocate(call.device, a, b, type, plan);
  const A* first = a.data<A>();
  const B* second = b.data<B>();
  Out* out = result.mutable_data<Out>();
  const std::int64_t step_a = plan.row_stride(0);
  const std::int64_t step_b = plan.row_stride(1);
  for_each_run(call.device, plan, binary_grain, [&](const Broadcast::Offsets& at, std::int64_t to, std::int64_t n) {
    const A* x = first + at[0];
    const B* y = second + at[1];
    Out* z = out + to;
    if (step_a == 1 && step_b == 1) {
      for (std::int64_t i = 0; i < n; ++i) z[i] = static_cast<Out>(f(x[i], y[i]));
    } else if (step_a == 1 && step_b == 0) {
      const B constant = *y;
      for (std::int64_t i = 0; i < n; ++i) z[i] = static_cast<Out>(f(x[i], constant));
    } else if (step_a == 0 && step_b == 1) {
      const A constant = *x;
      for (std::int64_t i = 0; i < n; ++i) z[i] = static_cast<Out>(f(constant, y[i]));
    } else {
      for (std::int64_t i = 0; i < n; ++i) z[i] = static_cast<Out>(f(x[i * step_a], y[i * step_b]));
    }
  });
  return result;
}

/// float32 operands through vector loops; f for strided rows.
template <class Formula>
Tensor combine_vector(const Call& call, const Tensor& a, const Tensor& b, const BinaryLoops& loops, Formula&& f) {
  const Broadcast plan = plan_broadcast(call, {&a, &b});
  Tensor result = reuse_or_allocate(call.device, a, b, DataType::float32, plan);
  const float* first = a.data<float>();
  const float* second = b.data<float>();
  float* out = result.mutable_data<float>();
  const std::int64_t step_a = plan.row_stride(0);
  const std::int64_t step_b = plan.row_stride(1);
  const BinaryLoops::Loop loop = step_a == 1 && step_b == 1   ? loops.arrays
                                 : step_a == 1 && step_b == 0 ? loops.second_scalar
                                 : step_a == 0 && step_b == 1 ? loops.first_scalar
                                                              : nullptr;
  for_each_run(call.device, plan, binary_grain, [&](const Broadcast::Offsets& at, std::int64_t to, std::int64_t n) {
    if (loop != nullptr) return loop(first + at[0], second + at[1], out + to, static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) out[to + i] = f(first[at[0] + i * step_a], second[at[1] + i * step_b]);
  });
  return result;
}

inline void require_same_type(const Call& call, const Tensor& a, const Tensor& b) {
  if (a.type() != b.type())
    call.fail("operands of types " + std::string(name_of(a.type())) + " and " + std::string(name_of(b.type())));
}

void register_binary_logic(OperatorTable& table);

}  // namespace tare::cpu
