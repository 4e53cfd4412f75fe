#include "cpu/operators.hpp"

namespace tare::cpu {

void register_unary(OperatorTable&) {}

}  // namespace tare::cpu
