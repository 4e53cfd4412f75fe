// Sums, absolute sums, sums of squares, maxima and minima of float32, along a row and across rows.
// Sums run in float64. A row is summed in 16 lanes (element i goes to lane i % 16) whatever the width of the registers,
// so every instruction set gives the same bits; the caller adds the lanes up. Odd: maxima and minima carry NaN along,
// as numpy's do.
#include "cpu/vector/isa.hpp"
#include "cpu/vector/lanes.hpp"

namespace tare::cpu::TARE_ISA {
namespace {

constexpr std::size_t lane_count = 16;

template <class Accumulator, class Add>
inline __attribute__((always_inline)) void along_row(const float* in, std::size_t n, Accumulator* lanes, Add add) {
  Accumulator sums[lane_count];
  for (std::size_t l = 0; l < lane_count; ++l) sums[l] = lanes[l];
  std::size_t i = 0;
  for (; i + lane_count <= n; i += lane_count)
    for (std::size_t l = 0; l < lane_count; ++l) sums[l] = add(sums[l], in[i + l]);
  for (std::size_t l = 0; l < lane_count; ++l) lanes[l] = sums[l];
  for (std::size_t l = 0; i < n; ++i, ++l) lanes[l] = add(lanes[l], in[i]);
}

template <class Accumulator, class Add>
inline __attribute__((always_inline)) void across_rows(const float* in, Accumulator* sums, std::size_t n, Add add) {
  for (std::size_t i = 0; i < n; ++i) sums[i] = add(sums[i], in[i]);
}

struct Sum {
  TARE_HD double operator()(double sum, float x) const { return sum + static_cast<double>(x); }
};
struct AbsoluteSum {
  TARE_HD double operator()(double sum, float x) const { return sum + static_cast<double>(__builtin_fabsf(x)); }
};
struct SquareSum {
  TARE_HD double operator()(double sum, float x) const { return sum + static_cast<double>(x) * static_cast<double>(x); }
};
struct Minimum {
  template <class T>
  TARE_HD T operator()(T best, T x) const {
    return ((x < best) | (x != x)) ? x : best;
  }
};

/// As along_row, of what picks one of two floats.
template <class Pick>
inline __attribute__((always_inline)) void extreme_of_row(const float* in, std::size_t n, float* lanes, Pick pick) {
  using Register = Lanes<register_lanes>;
  constexpr std::size_t registers = lane_count / register_lanes;
  typename Register::Values best[registers];
  for (std::size_t r = 0; r < registers; ++r) best[r] = Register::load(lanes + r * register_lanes);
  std::size_t i = 0;
  for (; i + lane_count <= n; i += lane_count)
    for (std::size_t r = 0; r < registers; ++r) best[r] = pick(best[r], Register::load(in + i + r * register_lanes));
  for (std::size_t r = 0; r < registers; ++r) Register::store(lanes + r * register_lanes, best[r]);
  for (std::size_t l = 0; i < n; ++i, ++l) lanes[l] = pick(lanes[l], in[i]);
}

}  // namespace

void row_sum(const float* in, std::size_t n, double* lanes) { along_row(in, n, lanes, Sum{}); }
void row_absolute_sum(const float* in, std::size_t n, double* lanes) { along_row(in, n, lanes, AbsoluteSum{}); }
void row_square_sum(const float* in, std::size_t n, double* lanes) { along_row(in, n, lanes, SquareSum{}); }
void row_maximum(const float* in, std::size_t n, float* lanes) { extreme_of_row(in, n, lanes, Maximum{}); }
void row_minimum(const float* in, std::size_t n, float* lanes) { extreme_of_row(in, n, lanes, Minimum{}); }
void column_sum(const float* in, double* sums, std::size_t n) { across_rows(in, sums, n, Sum{}); }
void column_absolute_sum(const float* in, double* sums, std::size_t n) { across_rows(in, sums, n, AbsoluteSum{}); }
void column_square_sum(const float* in, double* sums, std::size_t n) { across_rows(in, sums, n, SquareSum{}); }
void column_maximum(const float* in, float* best, std::size_t n) { across_rows(in, best, n, Maximum{}); }
void column_minimum(const float* in, float* best, std::size_t n) { across_rows(in, best, n, Minimum{}); }

void row_square_deviation(const float* in, std::size_t n, double mean, double* lanes) {
  along_row(
      in, n, lanes, [mean](double sum, float x) __attribute__((always_inline)) {
        const double d = static_cast<double>(x) - mean;
        return sum + d * d;
      });
}

}  // namespace tare::cpu::TARE_ISA
