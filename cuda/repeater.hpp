// The runs of one executor on the device: the first of its kind is done node by node, the second one is recorded, all
// later ones are replays (recording.hpp).
#pragma once

#include "device.hpp"
#include "tare/cuda.hpp"

namespace tare::cuda {

/// `use` is counted up; it and the device outlive the repeater.
std::unique_ptr<Repeater> make_repeater(Device& device, Backend& host, GraphUse& use);

}  // namespace tare::cuda
