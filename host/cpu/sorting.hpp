// Parts of register_sorting.
#pragma once

#include "cpu/operators.hpp"

namespace tare::cpu {

void register_arguments_of_extremes(OperatorTable&);
void register_unique(OperatorTable&);
void register_non_max_suppression(OperatorTable&);

}  // namespace tare::cpu
