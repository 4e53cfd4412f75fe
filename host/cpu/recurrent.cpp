#include "cpu/operators.hpp"

namespace tare::cpu {

void register_recurrent(OperatorTable&) {}

}  // namespace tare::cpu
