#include "cpu/operators.hpp"

namespace tare::cpu {

void register_pooling(OperatorTable&) {}

}  // namespace tare::cpu
