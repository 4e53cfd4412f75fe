#include "cpu/quantize.hpp"

namespace tare::cpu {

std::unique_ptr<Observer> make_observer(Device&, ObserverKind, std::size_t) { return nullptr; }

}  // namespace tare::cpu
