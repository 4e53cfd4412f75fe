// Which elements a RotaryEmbedding turns by which angles, for every backend.
#pragma once

#include "cpu/attention.hpp"

namespace tare::cpu {

struct RotaryView {
  static constexpr std::size_t positions_input = 3;

  std::int64_t batch = 0, heads = 0, positions = 0;
  std::int64_t features = 0;
  std::int64_t rotated = 0;  ///< the first ones of a position's features; the others stay
  bool interleaved = false;  ///< pairs are neighbours, and not half of `rotated` apart
  HeadStrides strides;
  std::int64_t angles = 0;  ///< rows of the caches, where positions say which; else every position has its own

  std::int64_t pairs() const { return batch * heads * positions * (rotated / 2); }
  /// Elements of a pair within the features of a position.
  TARE_HD std::int64_t first(std::int64_t pair) const { return interleaved ? 2 * pair : pair; }
  TARE_HD std::int64_t second(std::int64_t pair) const { return interleaved ? 2 * pair + 1 : pair + rotated / 2; }
};

/// Fails naming the node where the inputs do not fit each other. Reads no positions.
RotaryView rotary_view(const Call& call);
/// Fails where a position, on the host, has no row in the caches.
void check_positions(const Call& call, const RotaryView& view);

}  // namespace tare::cpu
