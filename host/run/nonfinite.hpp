// The search for NaN and infinities in data and in what is computed from it, and the message about the first one.
// Whole tensors are checked at the speed of memory: a pass over clean data must cost nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "tare/graph.hpp"
#include "tare/tensor.hpp"

namespace tare {

/// Whether -inf is looked for, too: inside of a model it masks something, or is the logarithm of 0.
enum class Masks : bool { refused, allowed };

/// Place in memory of the first NaN or infinity of a host tensor; none for clean tensors and those without floats.
std::optional<std::int64_t> first_nonfinite(const Tensor& tensor, Masks masks = Masks::refused);

/// Throws Error(data) for the first NaN or infinity of a host tensor. `what`: "input 'x'". A tensor with as many rows
/// as there are samples names the sample and the index in it.
void refuse_nonfinite(std::string_view what, const Tensor& tensor, std::size_t first_sample, std::size_t samples,
                      Masks masks = Masks::refused);

/// The same for what a batch feeds, inputs in the order of graph.inputs.
void refuse_nonfinite_inputs(const Graph& graph, std::span<const Tensor> inputs, std::size_t first_sample,
                             std::size_t samples);

}  // namespace tare
