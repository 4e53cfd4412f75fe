// Which number formats a file can hold: asked by what writes it, and by what refuses flags before any data is read.
#pragma once

#include "tare/export.hpp"

namespace tare {

inline bool is_float8(NumberFormat format) {
  return format == NumberFormat::float8e4m3fn || format == NumberFormat::float8e5m2;
}

/// The first version of encodings files that has the format.
inline EncodingVersion first_version_with(NumberFormat format) {
  return is_float8(format) ? EncodingVersion::v2_0_0 : EncodingVersion::v0_6_1;
}

/// Whether ONNX Runtime's overrides hold it; float16 tensors have no grid to hold.
inline bool overrides_hold(NumberFormat format, int bitwidth) {
  const bool has_type = bitwidth == 4 || bitwidth == 8 || bitwidth == 16;
  return format == NumberFormat::float16 || (format == NumberFormat::integer && has_type);
}

}  // namespace tare
