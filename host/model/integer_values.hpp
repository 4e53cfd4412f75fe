// The elements of a tensor of integers, whatever their width.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tare/tensor.hpp"

namespace tare {

/// Of integers and booleans on the host; integers beyond those of int64 wrap around. Nothing for other types.
std::optional<std::vector<std::int64_t>> integer_values(const Tensor& tensor);

}  // namespace tare
