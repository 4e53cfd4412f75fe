// Element by element over rows of channels: pooling of channels_last tensors.
#include "cpu/vector/isa.hpp"

namespace tare::cpu::TARE_ISA {
namespace {

/// 64 running results stay in registers while the rows pass.
template <class Combine, class Finish>
inline void reduce_rows(const float* const* rows, std::size_t count, float* out, std::size_t n, Combine combine,
                        Finish finish) {
  constexpr std::size_t block = 64;
  std::size_t i = 0;
  for (; i + block <= n; i += block) {
    float result[block];
    for (std::size_t j = 0; j < block; ++j) result[j] = rows[0][i + j];
    for (std::size_t r = 1; r < count; ++r)
      for (std::size_t j = 0; j < block; ++j) result[j] = combine(result[j], rows[r][i + j]);
    for (std::size_t j = 0; j < block; ++j) out[i + j] = finish(result[j]);
  }
  constexpr std::size_t small = 8;
  for (; i + small <= n; i += small) {
    float result[small];
    for (std::size_t j = 0; j < small; ++j) result[j] = rows[0][i + j];
    for (std::size_t r = 1; r < count; ++r)
      for (std::size_t j = 0; j < small; ++j) result[j] = combine(result[j], rows[r][i + j]);
    for (std::size_t j = 0; j < small; ++j) out[i + j] = finish(result[j]);
  }
  for (; i < n; ++i) {
    float result = rows[0][i];
    for (std::size_t r = 1; r < count; ++r) result = combine(result, rows[r][i]);
    out[i] = finish(result);
  }
}

}  // namespace

void max_of_rows(const float* const* rows, std::size_t count, float* out, std::size_t n) {
  reduce_rows(rows, count, out, n, Maximum{}, [](float x) { return x; });
}
void mean_of_rows(const float* const* rows, std::size_t count, float divisor, float* out, std::size_t n) {
  reduce_rows(
      rows, count, out, n, [](float a, float b) { return a + b; }, [divisor](float x) { return x / divisor; });
}

}  // namespace tare::cpu::TARE_ISA
