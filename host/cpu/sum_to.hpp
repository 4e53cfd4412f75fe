// tare::SumTo(x, like): x summed back to the shape of `like`, which broadcasts to x's. Derivatives of broadcast
// operands.
#pragma once

#include "cpu/operators.hpp"

namespace tare::cpu {

void register_sum_to(OperatorTable& table);

}  // namespace tare::cpu
