#include "cpu/operators.hpp"

namespace tare::cpu {

void register_indexing(OperatorTable&) {}

}  // namespace tare::cpu
