// Parts of register_signal.
#pragma once

#include "cpu/operators.hpp"

namespace tare::cpu {

/// A transform of [lanes, dim] numbers of `parts` each, `inner` of which lie between the elements of a lane.
struct Dft {
  std::int64_t dim;     ///< of the input: cut, or padded with zeros, to
  std::int64_t length;  ///< of the transform, of which
  std::int64_t kept;    ///< come out
  std::int64_t inner, parts;
  bool inverse;
  Shape output;
  std::int64_t lanes() const { return kept > 0 ? output.elements() / 2 / kept : 0; }
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
