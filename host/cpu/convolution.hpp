// A convolution resolved against the shapes of its input and weights.
#pragma once

#include "cpu/window.hpp"

namespace tare::cpu {

struct Problem {
  std::int64_t groups;
  std::int64_t in_channels;
  std::int64_t out_channels;
  Shape input;  ///< spatial
  Window window;
  Shape output;  ///< all dimensions
};

}  // namespace tare::cpu
