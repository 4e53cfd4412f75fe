// Which encodings of a file follow from others in it.
#pragma once

#include "tare/graph.hpp"
#include "tare/quantizer.hpp"

namespace tare {

/// Without those of tensors that lie on that grid already, as add_derived_encodings lists them: what a file of 2.0.0
/// repeats is no quantizer of its own, and what is new in such a tensor, as a padding, is not quantized with it.
EncodingSet without_repeated(const EncodingSet& encodings, const Graph& graph);
/// The encodings that change a value when the model is simulated. Left out are repeated ones, 32-bit grids of biases,
/// which the simulation takes as they are, and those of tensors that the model has not. Roles are what the tensors are
/// in the model: a file may not know.
EncodingSet acting_encodings(const EncodingSet& encodings, const Graph& graph);

}  // namespace tare
