// One read of the data: extremes, special values and histogram counters, a block at a time.
// The loops over a block hold nothing but integer arithmetic, which the compiler turns into vectors of any width:
// floats are compared as integer keys that ascend with the value. A block with NaN or infinities, and the last short
// one, is walked one element at a time.
#include "cpu/vector/isa.hpp"

namespace tare::cpu::TARE_ISA {
namespace {

constexpr std::int32_t positive_infinity_key = 0x7f800000;
constexpr std::int32_t negative_infinity_key = -positive_infinity_key - 1;
constexpr std::size_t groups = (histogram_bin_count + histogram_group - 1) / histogram_group;
constexpr std::size_t zero_area = groups * histogram_group * histogram_columns;

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

template <std::size_t block>
TARE_HD std::uint64_t count_equal(const float* values, std::uint32_t bits) {
  std::uint32_t equal = 0;
  for (std::uint32_t i = 0; i < block; ++i) equal += bits_of(values[i]) == bits ? 1u : 0u;
  return equal;
}

TARE_HD void count_block(const std::uint32_t* index, std::uint16_t* counters) {
#pragma GCC unroll 64
  for (std::size_t i = 0; i < histogram_block; ++i) ++counters[index[i]];
}

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
    std::int32_t low = positive_infinity_key;
    std::int32_t high = negative_infinity_key;
    std::uint32_t zeros = 0;
    for (std::uint32_t i = 0; i < block; ++i) {
      const std::uint32_t bits = bits_of(values[i]);
      const std::int32_t key = ascending_key(bits);
      low = key < low ? key : low;
      high = key > high ? key : high;
      zeros += (bits & 0x7fffffffu) == 0 ? 1u : 0u;
    }
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

void observe_histogram(const float* in, std::size_t n, std::uint16_t* counters, Extremes* extremes) {
  constexpr std::size_t block = histogram_block;
  constexpr std::uint32_t columns = histogram_columns;
  Extremes all = *extremes;
  Keys keys = keys_of(all);
  // A block is counted while the counters of the next one are computed: fresh vectors cannot be read back in pieces.
  alignas(64) std::uint32_t both[2][block];
  std::uint32_t* index = both[0];
  const std::uint32_t* waiting = nullptr;
  std::size_t done = 0;
  for (; done + block <= n; done += block) {
    const float* values = in + done;
    std::int32_t low = positive_infinity_key;
    std::int32_t high = negative_infinity_key;
    // 32-bit lane numbers and masks instead of conditions: the compiler then needs no wider vectors and no branches.
    for (std::uint32_t i = 0; i < block; ++i) {
      const std::uint32_t bits = bits_of(values[i]);
      const std::int32_t key = ascending_key(bits);
      low = key < low ? key : low;
      high = key > high ? key : high;
      const std::uint32_t counter = histogram_bin(bits) * columns + i % columns;
      const std::uint32_t zero = 0u - static_cast<std::uint32_t>((bits & 0x7fffffffu) == 0);
      index[i] = counter ^ ((counter ^ (static_cast<std::uint32_t>(zero_area) + i)) & zero);
    }
    if (keys.touched_by(low, high)) {
      if (low <= negative_infinity_key || high >= positive_infinity_key) {
        walk(values, block, all, keys, [counters](std::uint32_t bits, std::size_t i) {
          ++counters[histogram_bin(bits) * histogram_columns + i % histogram_columns];
        });
        continue;
      }
      keys.add(low, high, [values](std::uint32_t bits) { return count_equal<block>(values, bits); });
    }
    if (waiting != nullptr) count_block(waiting, counters);
    waiting = index;
    index = index == both[0] ? both[1] : both[0];
  }
  if (waiting != nullptr) count_block(waiting, counters);
  walk(in + done, n - done, all, keys, [counters](std::uint32_t bits, std::size_t i) {
    ++counters[histogram_bin(bits) * histogram_columns + i % histogram_columns];
  });
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
