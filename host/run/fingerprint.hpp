// Hashes that tell whether saved statistics still fit: 64 bits, as FNV-1a but eight bytes at a time. Not a protection
// against anybody, only against mistakes. Odd: weights of many GB are hashed in full, too. A calibration reads them
// several times to find their encodings, and a spot check would miss the one tensor that was changed.
#pragma once

#include <string>

#include "tare/model.hpp"
#include "tare/quantizer.hpp"

namespace tare {

std::string library_version();
/// Of the model's file and of those with its external data. Throws Error(io) when one is gone.
std::string hash_of_model(const Model& model);
std::string hash_of_encodings(const EncodingSet& encodings);

}  // namespace tare
