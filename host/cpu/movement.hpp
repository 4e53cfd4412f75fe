// What the files of movement operators share.
#pragma once

#include <cstdint>
#include <span>

#include "cpu/operators.hpp"

namespace tare::cpu {

/// What numpy.pad does with what lies outside.
enum class PadMode : std::uint8_t { constant, reflect, edge, wrap };
/// outputs[0] = inputs[0] with before[d] elements before and after[d] after dimension d (logical order); negative: cut
/// off. `value` points at one element. Keeps the layout of the input.
void pad(Call& call, PadMode mode, std::span<const std::int64_t> before, std::span<const std::int64_t> after,
         const void* value);

/// The shape that Reshape gives a tensor of shape `from` when it is asked for `wanted`.
Shape reshaped_shape(const Call& call, const Shape& from, std::span<const std::int64_t> wanted, bool allow_zero);

// Parts of register_movement.
void register_reshape(OperatorTable&);
void register_slice(OperatorTable&);
void register_pad(OperatorTable&);
void register_selection(OperatorTable&);

}  // namespace tare::cpu
