// Launches of element-wise formulas: one operand in order, two or three broadcast. Four elements a thread where
// addresses and rows allow it. `out` may be the memory of an operand of the same shape. Odd: half types are computed in
// float32 and rounded when they are stored, as if they had been widened before and narrowed after.
#pragma once

#include "cpu/broadcast.hpp"
#include "float_element.hpp"
#include "operators.hpp"

namespace tare::cuda {

/// out[i] = formula(in[i]).
template <class Formula>
void map_floats(const FloatInput& in, const FloatOutput& out, std::int64_t count, StreamView stream, Formula formula) {
  const std::int64_t fours = is_aligned(in.data) && is_aligned(out.data) ? count / 4 : 0;
  for_each(fours + (count - 4 * fours), stream, [=] __device__(std::int64_t i) {
    if (i < fours) {
      Four values = in.four(4 * i);
      for (int k = 0; k < 4; ++k) values.of[k] = formula(values.of[k]);
      out.set_four(4 * i, values);
    } else {
      const std::int64_t at = 3 * fours + i;
      out.set(at, formula(in[at]));
    }
  });
}

/// out[i] = static_cast<Out>(formula(in[i])).
template <class Out, class Formula>
void map(const FloatInput& in, Out* out, std::int64_t count, StreamView stream, Formula formula) {
  for_each(count, stream, [=] __device__(std::int64_t i) { out[i] = static_cast<Out>(formula(in[i])); });
}

/// The offsets of two broadcast operands; steps of the nest are elements of the result, in order.
Nest<2> nest_of(const cpu::Broadcast& plan);

/// out = formula(a, b), broadcast.
template <class Out, class Formula>
void combine(const cpu::Broadcast& plan, const FloatInput& a, const FloatInput& b, Out* out, StreamView stream,
             Formula formula) {
  Nest<2> nest = nest_of(plan);
  const std::int64_t steps = nest.finish();
  for_each(steps, stream, [=] __device__(std::int64_t i) {
    const auto at = nest.at(i);
    out[i] = static_cast<Out>(formula(a[at.of[0]], b[at.of[1]]));
  });
}

/// The same with a float result.
template <class Formula>
void combine_floats(const cpu::Broadcast& plan, const FloatInput& a, const FloatInput& b, const FloatOutput& out,
                    StreamView stream, Formula formula) {
  Nest<2> nest = nest_of(plan);
  // Rows of fours: every operand steps by 1 or stands still, and starts on a four.
  const int last = nest.rank - 1;
  bool fours = is_aligned(a.data) && is_aligned(b.data) && is_aligned(out.data) && nest.sizes[last] % 4 == 0;
  for (int k = 0; k < 2; ++k) {
    const bool steps = nest.strides[k][last] == 1;
    fours = fours && (steps || nest.strides[k][last] == 0);
    for (int d = 0; d < last; ++d) fours = fours && (!steps || nest.strides[k][d] % 4 == 0);
  }
  if (!fours) {
    const std::int64_t steps = nest.finish();
    for_each(steps, stream, [=] __device__(std::int64_t i) {
      const auto at = nest.at(i);
      out.set(i, formula(a[at.of[0]], b[at.of[1]]));
    });
    return;
  }
  const bool steps_a = nest.strides[0][last] == 1;
  const bool steps_b = nest.strides[1][last] == 1;
  nest.sizes[last] /= 4;
  nest.strides[0][last] *= 4;
  nest.strides[1][last] *= 4;
  const std::int64_t steps = nest.finish();
  for_each(steps, stream, [=] __device__(std::int64_t i) {
    const auto at = nest.at(i);
    const auto fetch = [=](const FloatInput& from, std::int64_t offset, bool moves) {
      if (moves) return from.four(offset);
      const float x = from[offset];
      return Four{{x, x, x, x}};
    };
    Four x = fetch(a, at.of[0], steps_a);
    const Four y = fetch(b, at.of[1], steps_b);
    for (int k = 0; k < 4; ++k) x.of[k] = formula(x.of[k], y.of[k]);
    out.set_four(4 * i, x);
  });
}

}  // namespace tare::cuda
