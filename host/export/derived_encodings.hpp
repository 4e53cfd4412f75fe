// Which encodings of a file follow from others in it.
#pragma once

#include "tare/graph.hpp"
#include "tare/quantizer.hpp"

namespace tare {

/// The encodings that change a value when the model is simulated. Left out are 32-bit grids of biases, which the
/// simulation takes as they are, and those of tensors that lie on that grid already, as add_derived_encodings lists
/// them. Roles are what the tensors are in the model: a file may not know.
EncodingSet acting_encodings(const EncodingSet& encodings, const Graph& graph);

}  // namespace tare
