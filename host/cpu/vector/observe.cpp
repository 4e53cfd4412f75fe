// One read of the data: extremes, special values and histogram counters, a block at a time.
// The loops over a block hold nothing but integer arithmetic, which the compiler turns into vectors of any width:
// floats are compared as integer keys that ascend with the value. A block with NaN or infinities, and the last short
// one, is walked one element at a time.
#include "cpu/vector/histogram_block.hpp"

namespace tare::cpu::TARE_ISA {
namespace {

/// Extremes as keys while a run of values is walked; both zeros have the key 0.
struct Keys {
  std::int32_t low;
  std::int32_t high;
  std::uint64_t low_count;
  std::uint64_t high_count;

  /// Whether a stretch from `first` to `last` changes an extreme or its count. One of 0 only yields to a lower one.
  TARE_HD bool touched_by(std::int32_t first, std::int32_t last) const {
    return first <= (low == 0 ? -2 : low) || last >= (high == 0 ? 1 : high);
  }
  /// Adds a stretch without special values; `count_equal(bits)` counts its elements of those bits.
  template <class CountEqual>
  TARE_HD void add(std::int32_t first, std::int32_t last, CountEqual count_equal) {
    if (first == -1) first = 0;
    if (last == -1) last = 0;
    if (first <= low && first != 0)
      low_count = (first < low ? 0 : low_count) + count_equal(bits_of(value_of_key(first)));
    if (last >= high && last != 0)
      high_count = (last > high ? 0 : high_count) + count_equal(bits_of(value_of_key(last)));
    low = first < low ? first : low;
    high = last > high ? last : high;
  }
};

TARE_HD Keys keys_of(const Extremes& all) {
  return {ascending_key(bits_of(all.min)), ascending_key(bits_of(all.max)), all.min_count, all.max_count};
}
TARE_HD void store(const Keys& keys, Extremes& all) {
  all.min = value_of_key(keys.low);
  all.max = value_of_key(keys.high);
  all.min_count = keys.low_count;
  all.max_count = keys.high_count;
}

/// A block of one finite value counts as a whole; false for any other.
template <std::size_t block>
TARE_HD bool count_if_equal(const float* values, std::uint16_t* counters, Extremes& all, Keys& keys) {
  const std::uint32_t bits = bits_of(values[0]);
  // A neighbour first: a look at the end of the block would come in the way of the hardware's prefetching.
  if (bits != bits_of(values[1]) || bits != bits_of(values[2]) || (bits & 0x7fffffffu) >= 0x7f800000u) return false;
  if (count_equal<block>(values, bits) != block) return false;
  const std::int32_t key = ascending_key(bits);
  if (keys.touched_by(key, key)) keys.add(key, key, [](std::uint32_t) { return std::uint64_t{block}; });
  if ((bits & 0x7fffffffu) == 0) {
    all.zero_count += block;
    return true;
  }
  std::uint16_t* columns = counters + histogram_bin(bits) * histogram_columns;
  for (std::size_t column = 0; column < histogram_columns; ++column)
    columns[column] = static_cast<std::uint16_t>(columns[column] + block / histogram_columns);
  return true;
}

struct CountOne {
  std::uint16_t* counters;
  TARE_HD void operator()(std::uint32_t bits, std::size_t i) const {
    ++counters[histogram_bin(bits) * histogram_columns + i % histogram_columns];
  }
};

/// Any values, one at a time; `count(bits, i)` is called for the finite ones that are not zero.
template <class Count>
TARE_HD void walk(const float* in, std::size_t n, Extremes& all, Keys& keys, Count count) {
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t bits = bits_of(in[i]);
    const std::uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude >= 0x7f800000u) {
      if (magnitude > 0x7f800000u)
        ++all.nan_count;
      else if (bits >> 31)
        ++all.negative_infinity_count;
      else
        ++all.positive_infinity_count;
      continue;
    }
    const std::int32_t key = ascending_key(bits);
    keys.add(key, key, [](std::uint32_t) { return std::uint64_t{1}; });
    if (magnitude == 0)
      ++all.zero_count;
    else
      count(bits, i);
  }
}

}  // namespace

namespace {

/// Whole blocks from `done` on; returns where they end.
template <std::size_t block>
TARE_HD std::size_t look_at_blocks(const float* in, std::size_t n, std::size_t done, Extremes& all, Keys& keys) {
  for (; done + block <= n; done += block) {
    const float* values = in + done;
    const auto [range, zeros] = extremes_of<block>(values);
    const auto [low, high] = range;
    if (keys.touched_by(low, high)) {
      if (low <= negative_infinity_key || high >= positive_infinity_key) {
        walk(values, block, all, keys, [](std::uint32_t, std::size_t) {});
        continue;
      }
      keys.add(low, high, [values](std::uint32_t bits) { return count_equal<block>(values, bits); });
    }
    all.zero_count += zeros;
  }
  return done;
}

}  // namespace

void observe_extremes(const float* in, std::size_t n, Extremes* extremes) {
  Extremes all = *extremes;
  Keys keys = keys_of(all);
  std::size_t done = look_at_blocks<1024>(in, n, 0, all, keys);
  done = look_at_blocks<64>(in, n, done, all, keys);
  walk(in + done, n - done, all, keys, [](std::uint32_t, std::size_t) {});
  store(keys, all);
  *extremes = all;
}

namespace {

/// Whole blocks from `done` on; returns where they end. A block is counted while the counters of the next one are
/// computed: fresh vectors cannot be read back in pieces.
template <std::size_t block>
TARE_HD std::size_t count_blocks(const float* in, std::size_t n, std::size_t done, std::uint16_t* counters,
                                 Extremes& all, Keys& keys) {
  alignas(64) CounterIndex places[3][block];
  CounterIndex* const nothing = places[2];
  for (std::size_t i = 0; i < block; ++i) nothing[i] = static_cast<CounterIndex>(spare_area + i % histogram_block);
  CounterIndex* index = places[0];
  const CounterIndex* waiting = nothing;
  for (; done + block <= n; done += block) {
    const float* values = in + done;
    if (count_if_equal<block>(values, counters, all, keys)) continue;
    const auto [low, high] = find_counters_and_count<block>(values, index, waiting, counters);
    waiting = nothing;
    if (keys.touched_by(low, high)) {
      if (low <= negative_infinity_key || high >= positive_infinity_key) {
        walk(values, block, all, keys, CountOne{counters});
        continue;
      }
      keys.add(low, high, [values](std::uint32_t bits) { return count_equal<block>(values, bits); });
    }
    waiting = index;
    index = index == places[0] ? places[1] : places[0];
  }
  if (waiting != nothing) count_block<block>(waiting, counters);
  return done;
}

}  // namespace

void observe_histogram(const float* in, std::size_t n, std::uint16_t* counters, Extremes* extremes) {
  Extremes all = *extremes;
  Keys keys = keys_of(all);
  std::size_t done = 0;
  if constexpr (preferred_block > histogram_block) done = count_blocks<preferred_block>(in, n, 0, counters, all, keys);
  done = count_blocks<histogram_block>(in, n, done, counters, all, keys);
  walk(in + done, n - done, all, keys, CountOne{counters});
  store(keys, all);
  *extremes = all;
}

bool take_group(std::uint16_t* counters, std::uint32_t* counts) {
  static_assert(histogram_columns * sizeof(std::uint16_t) == sizeof(std::uint64_t));
  typedef std::uint64_t __attribute__((may_alias, aligned(2))) Columns;
  Columns* columns = reinterpret_cast<Columns*>(counters);
  std::uint64_t any = 0;
  for (std::size_t i = 0; i < histogram_group; ++i) any |= columns[i];
  if (any == 0) return false;
  for (std::size_t i = 0; i < histogram_group; ++i) {
    const std::uint64_t pairs = (columns[i] & 0x0000ffff0000ffffu) + ((columns[i] >> 16) & 0x0000ffff0000ffffu);
    counts[i] = static_cast<std::uint32_t>(pairs + (pairs >> 32));
  }
  for (std::size_t i = 0; i < histogram_group; ++i) columns[i] = 0;
  return true;
}

std::uint64_t take_zeros(std::uint16_t* counters) {
  std::uint64_t zeros = 0;
  for (std::size_t i = 0; i < histogram_zero_counters; ++i) {
    zeros += counters[zero_area + i];
    counters[zero_area + i] = 0;
  }
  return zeros;
}

}  // namespace tare::cpu::TARE_ISA
