// What operators with integer arguments share: reading small integer inputs and checking what they say.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "cpu/operators.hpp"

namespace tare::cpu {

/// `function` behind a check that the first `required` inputs and an output are there.
template <Function function, std::size_t required = 1>
void checked(Call& call) {
  for (std::size_t i = 0; i < required; ++i)
    if (!call.has(i)) call.fail("input " + std::to_string(i) + " is missing");
  if (call.outputs.empty()) call.fail("has no output");
  function(call);
}

/// All elements of an integer input (any integer type), widened; fails naming the input for other types and for rank
/// > 1.
std::vector<std::int64_t> integers_of(const Call& call, std::size_t input, std::string_view what);
/// The single element of an integer input.
std::int64_t integer_of(const Call& call, std::size_t input, std::string_view what);
/// a * b; fails when it does not fit.
std::int64_t checked_product(const Call& call, std::int64_t a, std::int64_t b);
/// `axes` made positive; fails when one is out of range or stands twice.
std::vector<std::size_t> unique_axes(const Call& call, std::span<const std::int64_t> axes, std::size_t rank);

}  // namespace tare::cpu
