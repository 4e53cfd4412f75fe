// What the loops of host/cpu/vector/ take and give besides pointers and sizes. Plain data without functions, so that
// both sides of the instruction-set border may include it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tare::cpu {

/// Extremes and special values of a run of floats. min_count and max_count are meaningless for an extreme of 0:
/// zero_count is that number.
struct Extremes {
  float min = __builtin_inff();  ///< over finite values; -0 counts as +0
  float max = -__builtin_inff();
  std::uint64_t min_count = 0;
  std::uint64_t max_count = 0;
  std::uint64_t zero_count = 0;
  std::uint64_t nan_count = 0;
  std::uint64_t positive_infinity_count = 0;
  std::uint64_t negative_infinity_count = 0;
};

// Counters of the histogram loop: 16 bits, `histogram_columns` beside each other for every bin, element i counted in
// column i % histogram_columns, so that equal neighbours do not wait for each other; zeros in an area of their own. 16
// bits keep the octaves of common data inside the first-level cache; the caller empties the table before a column can
// wrap. Zen 5, one core, GB/s for normal / ReLU / constant data, read stream 38: 1 x u32 10.0/9.7/9.2, 2 x
// u32 12.0/11.9/12.0, 4 x u32 12.9/12.4/12.8, 8 x u32 10.6/12.3/12.7, 2 x u16 12.5/12.7/12.7, 4 x u16 13.3/13.1/13.0, 8
// x u16 12.6/12.3/12.0. Those without the pipelining of observe_histogram: with it, 4 x u16 on a loaded
// machine 16.8/19.6/9.0. Zen 4, read stream 30: 8.3/8.6/5.7; with scalar and vector instructions by turns (AVX-512),
// and blocks of one value counted as a whole, 11.5/12.0/29.
inline constexpr std::size_t histogram_columns = 4;
inline constexpr std::size_t histogram_block =
    64;  // elements whose counters are computed at a time; 128: 11.1, 256: 11.4 on ReLU
inline constexpr std::size_t histogram_zero_counters = histogram_block;  // behind them as many that nobody reads
inline constexpr std::size_t histogram_group = 64;  // bins that are emptied and kept together: one octave, mostly
inline constexpr std::size_t histogram_run = 4095 * histogram_block;  // elements before a column of 16 bits could wrap

/// Taps of an output that a convolution of few channels adds up: `rows` rows of `length` taps in one piece. Distances
/// in elements.
struct NarrowTaps {
  std::size_t rows;
  std::size_t length;
  std::size_t in_row;           ///< from row to row of the input
  std::size_t weights_row;      ///< and of the weights
  std::size_t weights_channel;  ///< from output channel to output channel
  std::size_t step;             ///< in the input, from output to output
  std::size_t channels;         ///< of the output
};

/// Consecutive grids, one array a member, `pitch` floats apart: vector/quantize.cpp makes and reads them.
struct Grids {
  const float* members;
  std::size_t pitch;
  float high;       ///< the last code; the first one is 0
  bool by_product;  ///< all of them have a reciprocal
};
/// The arrays.
inline constexpr std::size_t grid_members = 9;

}  // namespace tare::cpu
