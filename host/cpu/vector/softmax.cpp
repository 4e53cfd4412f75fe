// Exponentials and their sums along rows and across rows, for Softmax and LogSoftmax of float32.
// Sums run in float64, a row's in 16 lanes (element i goes to lane i % 16): the same bits on every instruction set.
#include "cpu/vector/isa.hpp"

namespace tare::cpu::TARE_ISA {
namespace {

constexpr std::size_t lane_count = 16;
constexpr std::size_t block = 256;

inline __attribute__((always_inline)) float exponential(float x) {
  const float clamped = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
  const float n = (clamped * 1.44269504f + 12582912.0f) - 12582912.0f;
  const float r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const float power = float_of(static_cast<std::uint32_t>(static_cast<std::int32_t>(n) + 127) << 23);
  return x != x ? x : (x < -87.0f ? 0.0f : p * power);
}

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
    for (std::size_t i = first; i < first + length; ++i) out[i] = exponential(in[i] - shift);
    add_row(out + first, length, lanes);
  }
  return total(lanes);
}

double row_exponential_sum(const float* in, float shift, std::size_t n) {
  double lanes[lane_count] = {};
  float values[block];
  for (std::size_t first = 0; first < n; first += block) {
    const std::size_t length = n - first < block ? n - first : block;
    for (std::size_t i = 0; i < length; ++i) values[i] = exponential(in[first + i] - shift);
    add_row(values, length, lanes);
  }
  return total(lanes);
}

void column_exponentials(const float* in, const float* shifts, float* out, double* sums, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = exponential(in[i] - shifts[i]);
  for (std::size_t i = 0; i < n; ++i) sums[i] += static_cast<double>(out[i]);
}

void column_exponential_sum(const float* in, const float* shifts, double* sums, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) sums[i] += static_cast<double>(exponential(in[i] - shifts[i]));
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
