#include "cpu/operators.hpp"

namespace tare::cpu {

void register_vision(OperatorTable&) {}

}  // namespace tare::cpu
