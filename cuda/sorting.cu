// TopK, and the operators whose results are as long as the data say: NonZero and Unique run on the host, from a copy,
// since their indices belong there and their sizes must be known there. TopK sorts whole lanes of unique 64-bit keys,
// value before index, in a bitonic network: no atomics, no choice left to chance, any length. Odd: a lane that a team
// can hold goes through the whole network in one launch; longer ones take a launch a step.
#include <bit>

#include "float_element.hpp"
#include "operators.hpp"

namespace tare::cuda {
namespace {

using Key = std::uint64_t;  ///< order of the value above, index below
constexpr Key last_key = ~Key{0};
constexpr std::int64_t most_of_a_team = 8192;

/// In ascending order where `largest` is false; every NaN above all numbers, -0 beside 0, equal values by index.
struct MakeKeys {
  FloatInput in;
  Key* keys;
  std::int64_t length, padded, inner;
  bool largest;
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t lane = i / padded;
    const std::int64_t at = i % padded;
    if (at >= length) {
      keys[i] = last_key;
      return;
    }
    const float x = in[(lane / inner * length + at) * inner + lane % inner];
    std::uint32_t order = 0xffffffffu;
    if (x == x) {
      const std::uint32_t bits = x == 0.0f ? 0u : bits_of(x);
      order = bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
    }
    keys[i] = Key{largest ? ~order : order} << 32 | static_cast<std::uint32_t>(at);
  }
};

/// Step (size, distance) of the network on one pair.
TARE_HD void exchange(Key* keys, std::int64_t pair, std::int64_t size, std::int64_t distance) {
  const std::int64_t low = 2 * distance * (pair / distance) + pair % distance;
  const bool ascending = (low & size) == 0;
  const Key a = keys[low];
  const Key b = keys[low + distance];
  if ((a > b) != ascending) return;
  keys[low] = b;
  keys[low + distance] = a;
}

struct SortLane {
  Key* keys;
  std::int64_t padded;
  __device__ void operator()(std::int64_t lane, const Team& team) const {
    Key* own = keys + lane * padded;
    for (std::int64_t size = 2; size <= padded; size *= 2)
      for (std::int64_t distance = size / 2; distance > 0; distance /= 2) {
        for (std::int64_t pair = team.thread; pair < padded / 2; pair += team.size) exchange(own, pair, size, distance);
        team.barrier();
      }
  }
};

struct SortStep {
  Key* keys;
  std::int64_t padded, size, distance;
  __device__ void operator()(std::int64_t i) const {
    exchange(keys + i / (padded / 2) * padded, i % (padded / 2), size, distance);
  }
};

/// `padded`, a power of two, keys a lane.
void sort_lanes(Key* keys, std::int64_t lanes, std::int64_t padded, StreamView stream) {
  if (padded <= most_of_a_team) return for_each_row(lanes, padded, stream, SortLane{keys, padded});
  for (std::int64_t size = 2; size <= padded; size *= 2)
    for (std::int64_t distance = size / 2; distance > 0; distance /= 2)
      for_each(lanes * (padded / 2), stream, SortStep{keys, padded, size, distance});
}

/// The first `kept` keys of a lane without their values: then they sort by index.
struct KeepIndices {
  const Key* from;
  Key* to;
  std::int64_t padded_from, padded_to, kept;
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t at = i % padded_to;
    to[i] = at < kept ? from[i / padded_to * padded_from + at] & 0xffffffffu : last_key;
  }
};

struct TakeKept {
  FloatInput in;
  const Key* keys;
  FloatOutput values;       ///< may be absent
  std::int64_t* positions;  ///< may be null
  std::int64_t length, padded, kept, inner;
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t lane = i / inner / kept * inner + i % inner;
    const auto at = static_cast<std::int64_t>(keys[lane * padded + i / inner % kept] & 0xffffffffu);
    if (values.present()) values.set(i, in[(lane / inner * length + at) * inner + lane % inner]);
    if (positions != nullptr) positions[i] = at;
  }
};

void top_k(Call& call) {
  const Tensor in = call.input(0);
  if (!is_quantizable(in.type())) cpu::fail_type(call, in.type());
  if (in.rank() == 0) call.fail("needs rank 1 or more");
  const std::size_t axis = cpu::axis_of(call, call.node.integer("axis", -1), in.rank());
  const std::int64_t length = in.shape()[axis];
  const std::int64_t kept = call.inputs.size() > 1 ? cpu::integer_of(call, 1, "K") : call.node.integer("k");
  if (kept < 0 || kept > length) call.fail(joined("k of ", kept, " in a dimension of ", length));
  if (length > std::int64_t{0xffffffff}) call.fail(joined("a dimension of ", length, " is too long to sort"));
  Shape shape = in.shape();
  shape[axis] = kept;
  const std::int64_t inner = shape.elements(axis + 1, shape.rank());
  const std::int64_t lanes = shape.elements(0, axis) * inner;
  const FloatOutput values = call.wants(0) ? FloatOutput(call.output(0, in.type(), shape)) : FloatOutput();
  std::int64_t* positions =
      call.wants(1) ? call.output(1, DataType::int64, shape).mutable_data<std::int64_t>() : nullptr;
  if (shape.elements() == 0) return;
  const auto padded_to = [](std::int64_t n) { return static_cast<std::int64_t>(std::bit_ceil(static_cast<Key>(n))); };
  std::int64_t padded = padded_to(length);
  Tensor keys = call.device.allocate(DataType::uint64, {lanes, padded});
  for_each(lanes * padded, stream_of(call),
           MakeKeys{in, keys.mutable_data<Key>(), length, padded, inner, call.node.integer("largest", 1) != 0});
  sort_lanes(keys.mutable_data<Key>(), lanes, padded, stream_of(call));
  if (call.node.integer("sorted", 1) == 0) {  // any order will do: that of the input
    const std::int64_t padded_kept = padded_to(kept);
    Tensor indices = call.device.allocate(DataType::uint64, {lanes, padded_kept});
    for_each(lanes * padded_kept, stream_of(call),
             KeepIndices{keys.data<Key>(), indices.mutable_data<Key>(), padded, padded_kept, kept});
    sort_lanes(indices.mutable_data<Key>(), lanes, padded_kept, stream_of(call));
    keys = indices;
    padded = padded_kept;
  }
  for_each(shape.elements(), stream_of(call),
           TakeKept{in, keys.data<Key>(), values, positions, length, padded, kept, inner});
}

}  // namespace

void register_sorting(OperatorTable& table) {
  table.add("TopK", cpu::checked<top_k>, cpu::Half::native);
  table.add("NonZero", run_on_host);
  table.add("Unique", run_on_host);
}

}  // namespace tare::cuda
