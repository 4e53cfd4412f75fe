// How given encodings are compared with the quantizers they are for.
#pragma once

#include <string>

#include "tare/quantizer.hpp"

namespace tare {

/// Integer grids of more bits are no quantizer's: biases, which follow from input and weight.
inline constexpr int widest_searched = 16;
inline bool is_wider_than_searched(const QuantizerSpec& spec) {
  return spec.format == NumberFormat::integer && spec.bitwidth > widest_searched;
}

/// "8 bits asymmetric", "4 bits symmetric strict per channel", "float16": equal for specs that quantize alike.
std::string kind_text(const QuantizerSpec& spec);

}  // namespace tare
