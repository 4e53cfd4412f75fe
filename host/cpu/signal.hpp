// Parts of register_signal.
#pragma once

#include <algorithm>

#include "cpu/operators.hpp"

namespace tare::cpu {

/// A transform of [lanes, dim] numbers of `parts` each, `inner` of which lie between the elements of a lane.
struct Dft {
  std::int64_t dim;     ///< of the input: cut, or padded with zeros, to
  std::int64_t length;  ///< of the transform, of which
  std::int64_t kept;    ///< come out
  std::int64_t inner, parts;
  bool inverse;
  bool half_spectrum;  ///< of real numbers, which come out: its other half is the conjugate of what is there
  Shape output;
  std::int64_t out_parts() const { return half_spectrum ? 1 : 2; }
  std::int64_t lanes() const { return kept > 0 ? output.elements() / out_parts() / kept : 0; }
  /// Of the input, that a transform reads.
  std::int64_t read() const { return std::min(dim, half_spectrum ? length / 2 + 1 : length); }
};
Dft plan_dft(const Call& call);

struct Stft {
  std::int64_t batch, length, frames, frame, step, bins, parts;
  bool windowed;
};
Stft plan_stft(const Call& call);

void register_windows(OperatorTable&);
void register_tf_idf(OperatorTable&);

}  // namespace tare::cpu
