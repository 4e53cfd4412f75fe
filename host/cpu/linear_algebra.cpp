#include "cpu/operators.hpp"

namespace tare::cpu {

void register_linear_algebra(OperatorTable&) {}

}  // namespace tare::cpu
