// One read of the data: extremes, special values and histogram counters, a block at a time.
// The loops over a block hold nothing but integer arithmetic, which the compiler turns into vectors of any width:
// floats are compared as integer keys that ascend with the value. A block with NaN or infinities, and the last short
// one, is walked one element at a time.
#include "cpu/vector/isa.hpp"

namespace tare::cpu::TARE_ISA {
namespace {

TARE_HD std::int32_t key_of(std::uint32_t bits) {
  const std::uint32_t sign = 0u - (bits >> 31);
  return static_cast<std::int32_t>(bits ^ (sign >> 1));
}
TARE_HD float value_of(std::int32_t key) {
  const std::uint32_t bits = static_cast<std::uint32_t>(key);
  const std::uint32_t sign = 0u - (bits >> 31);
  return float_of(bits ^ (sign >> 1));
}

constexpr std::int32_t positive_infinity_key = 0x7f800000;
constexpr std::int32_t negative_infinity_key = -positive_infinity_key - 1;
constexpr std::size_t zero_area = std::size_t{histogram_bin_count} * histogram_columns;

/// Adds what a stretch without special values holds; `count_equal(key)` counts its elements of that key.
template <class CountEqual>
TARE_HD void merge_extremes(Extremes& all, std::int32_t low, std::int32_t high, CountEqual count_equal) {
  // The key of -0 is -1: both zeros are one value here, and their number is known anyway.
  const float low_value = low == -1 ? 0.0f : value_of(low);
  const float high_value = high == -1 ? 0.0f : value_of(high);
  if (low_value <= all.min) {
    const std::uint64_t before = low_value < all.min ? 0 : all.min_count;
    all.min = low_value;
    all.min_count = low_value == 0.0f ? 0 : before + count_equal(low);
  }
  if (high_value >= all.max) {
    const std::uint64_t before = high_value > all.max ? 0 : all.max_count;
    all.max = high_value;
    all.max_count = high_value == 0.0f ? 0 : before + count_equal(high);
  }
}

/// Adds the extremes of a block without special values, given as keys.
template <std::size_t block>
TARE_HD void merge_block(const float* values, Extremes& all, std::int32_t low, std::int32_t high) {
  merge_extremes(all, low, high, [values](std::int32_t key) {
    std::uint32_t equal = 0;
    for (std::size_t i = 0; i < block; ++i) equal += key_of(bits_of(values[i])) == key ? 1u : 0u;
    return std::uint64_t{equal};
  });
}

/// Keys from which on a value may change the extremes or their counts. An extreme of 0 only yields to a lower one.
struct Reach {
  std::int32_t low;
  std::int32_t high;
};
TARE_HD Reach reach_of(const Extremes& all) {
  return {all.min == 0.0f ? -2 : key_of(bits_of(all.min)), all.max == 0.0f ? 1 : key_of(bits_of(all.max))};
}

/// Any values, one at a time; `count(bits, i)` is called for the finite ones that are not zero.
template <class Count>
TARE_HD void walk(const float* in, std::size_t n, Extremes& all, Count count) {
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
    const std::int32_t key = key_of(bits);
    merge_extremes(all, key, key, [](std::int32_t) { return std::uint64_t{1}; });
    if (magnitude == 0)
      ++all.zero_count;
    else
      count(bits, i);
  }
}

}  // namespace

void observe_extremes(const float* in, std::size_t n, Extremes* extremes) {
  constexpr std::size_t block = 1024;
  Extremes all = *extremes;
  Reach reach = reach_of(all);
  std::size_t done = 0;
  for (; done + block <= n; done += block) {
    const float* values = in + done;
    std::int32_t low = positive_infinity_key;
    std::int32_t high = negative_infinity_key;
    std::uint32_t zeros = 0;
    for (std::size_t i = 0; i < block; ++i) {
      const std::uint32_t bits = bits_of(values[i]);
      const std::int32_t key = key_of(bits);
      low = key < low ? key : low;
      high = key > high ? key : high;
      zeros += (bits & 0x7fffffffu) == 0 ? 1u : 0u;
    }
    if (low <= reach.low || high >= reach.high) {
      if (low <= negative_infinity_key || high >= positive_infinity_key) {
        walk(values, block, all, [](std::uint32_t, std::size_t) {});
        reach = reach_of(all);
        continue;
      }
      merge_block<block>(values, all, low, high);
      reach = reach_of(all);
    }
    all.zero_count += zeros;
  }
  walk(in + done, n - done, all, [](std::uint32_t, std::size_t) {});
  *extremes = all;
}

void observe_histogram(const float* in, std::size_t n, std::uint16_t* counters, Extremes* extremes) {
  constexpr std::size_t block = histogram_block;
  Extremes all = *extremes;
  Reach reach = reach_of(all);
  std::size_t done = 0;
  for (; done + block <= n; done += block) {
    const float* values = in + done;
    std::uint32_t index[block];
    std::int32_t low = positive_infinity_key;
    std::int32_t high = negative_infinity_key;
    for (std::size_t i = 0; i < block; ++i) {
      const std::uint32_t bits = bits_of(values[i]);
      const std::int32_t key = key_of(bits);
      low = key < low ? key : low;
      high = key > high ? key : high;
      const std::uint32_t counter = histogram_bin(bits) * static_cast<std::uint32_t>(histogram_columns) +
                                    static_cast<std::uint32_t>(i % histogram_columns);
      index[i] = (bits & 0x7fffffffu) == 0 ? static_cast<std::uint32_t>(zero_area + i) : counter;
    }
    if (low <= reach.low || high >= reach.high) {
      if (low <= negative_infinity_key || high >= positive_infinity_key) {
        walk(values, block, all, [counters](std::uint32_t bits, std::size_t i) {
          ++counters[histogram_bin(bits) * histogram_columns + i % histogram_columns];
        });
        reach = reach_of(all);
        continue;
      }
      merge_block<block>(values, all, low, high);
      reach = reach_of(all);
    }
    for (std::size_t i = 0; i < block; ++i) ++counters[index[i]];
  }
  walk(in + done, n - done, all, [counters](std::uint32_t bits, std::size_t i) {
    ++counters[histogram_bin(bits) * histogram_columns + i % histogram_columns];
  });
  *extremes = all;
}

std::uint64_t drain_histogram(std::uint16_t* counters, std::size_t first_bin, std::size_t end_bin,
                              std::uint32_t* sums) {
  static_assert(histogram_columns * sizeof(std::uint16_t) == sizeof(std::uint64_t));
  for (std::size_t bin = first_bin; bin < end_bin; ++bin) {
    std::uint64_t columns;
    __builtin_memcpy(&columns, counters + bin * histogram_columns, sizeof columns);
    const std::uint64_t pairs = (columns & 0x0000ffff0000ffffu) + ((columns >> 16) & 0x0000ffff0000ffffu);
    sums[bin] += static_cast<std::uint32_t>(pairs) + static_cast<std::uint32_t>(pairs >> 32);
    columns = 0;
    __builtin_memcpy(counters + bin * histogram_columns, &columns, sizeof columns);
  }
  std::uint64_t zeros = 0;
  for (std::size_t i = 0; i < histogram_zero_counters; ++i) {
    zeros += counters[zero_area + i];
    counters[zero_area + i] = 0;
  }
  return zeros;
}

}  // namespace tare::cpu::TARE_ISA
