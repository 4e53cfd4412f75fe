// Exponentials and their sums along rows and across rows, for Softmax and LogSoftmax of float32.
// Sums run in float64, a row's in 16 lanes (element i goes to lane i % 16): the same bits on every instruction set.
#include "cpu/vector/isa.hpp"
#include "tare/elementary.hpp"

namespace tare::cpu::TARE_ISA {
namespace {

constexpr std::size_t lane_count = 16;
constexpr std::size_t block = 256;

/// The pairwise sum of the lanes; the same tree everywhere.
inline __attribute__((always_inline)) double total(double* lanes) {
  for (std::size_t step = lane_count / 2; step > 0; step /= 2)
    for (std::size_t l = 0; l < step; ++l) lanes[l] += lanes[l + step];
  return lanes[0];
}

inline __attribute__((always_inline)) void add_row(const float* in, std::size_t n, double* lanes) {
  std::size_t i = 0;
  double sums[lane_count];
  for (std::size_t l = 0; l < lane_count; ++l) sums[l] = lanes[l];
  for (; i + lane_count <= n; i += lane_count)
    for (std::size_t l = 0; l < lane_count; ++l) sums[l] += static_cast<double>(in[i + l]);
  for (std::size_t l = 0; l < lane_count; ++l) lanes[l] = sums[l];
  for (std::size_t l = 0; i < n; ++i, ++l) lanes[l] += static_cast<double>(in[i]);
}

}  // namespace

double row_exponentials(const float* in, float shift, float* out, std::size_t n) {
  double lanes[lane_count] = {};
  for (std::size_t first = 0; first < n; first += block) {
    const std::size_t length = n - first < block ? n - first : block;
    for (std::size_t i = first; i < first + length; ++i) out[i] = elementary::exp(in[i] - shift);
    add_row(out + first, length, lanes);
  }
  return total(lanes);
}

double row_exponential_sum(const float* in, float shift, std::size_t n) {
  double lanes[lane_count] = {};
  float values[block];
  for (std::size_t first = 0; first < n; first += block) {
    const std::size_t length = n - first < block ? n - first : block;
    for (std::size_t i = 0; i < length; ++i) values[i] = elementary::exp(in[first + i] - shift);
    add_row(values, length, lanes);
  }
  return total(lanes);
}

void column_exponentials(const float* in, const float* shifts, float* out, double* sums, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = elementary::exp(in[i] - shifts[i]);
  for (std::size_t i = 0; i < n; ++i) sums[i] += static_cast<double>(out[i]);
}

void column_exponential_sum(const float* in, const float* shifts, double* sums, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) sums[i] += static_cast<double>(elementary::exp(in[i] - shifts[i]));
}

void row_scale(const float* in, float factor, float* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = in[i] * factor;
}

void column_scale(const float* in, const float* factors, float* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = in[i] * factors[i];
}

void row_subtract(const float* in, double amount, float* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<float>(static_cast<double>(in[i]) - amount);
}

void column_subtract(const float* in, const double* amounts, float* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<float>(static_cast<double>(in[i]) - amounts[i]);
}

}  // namespace tare::cpu::TARE_ISA
