// Specifications and options of searches, by what tests vary in them.
#pragma once

#include "tare/calibration.hpp"

namespace tare::test {

inline QuantizerSpec spec_of(int bitwidth, bool symmetric) {
  QuantizerSpec spec;
  spec.bitwidth = bitwidth;
  spec.symmetric = symmetric;
  return spec;
}

inline SearchOptions options_of(Scheme scheme) {
  SearchOptions options;
  options.scheme = scheme;
  return options;
}

}  // namespace tare::test
