// Parts of register_signal.
#pragma once

#include "cpu/operators.hpp"

namespace tare::cpu {

void register_windows(OperatorTable&);
void register_tf_idf(OperatorTable&);

}  // namespace tare::cpu
