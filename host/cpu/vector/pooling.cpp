// Element by element over rows of channels: pooling of channels_last tensors.
#include "cpu/vector/isa.hpp"
#include "cpu/vector/lanes.hpp"

namespace tare::cpu::TARE_ISA {
namespace {

/// Columns from `first` on, `vectors` of `lanes` at a time, whose running results stay in registers while the rows
/// pass. Returns the first column that is left.
template <std::size_t lanes, std::size_t vectors, class Combine, class Finish>
inline __attribute__((always_inline)) std::size_t reduce_columns(const float* const* rows, std::size_t count,
                                                                 float* out, std::size_t n, std::size_t first,
                                                                 Combine combine, Finish finish) {
  using Vector = Lanes<lanes>;
  for (; first + lanes * vectors <= n; first += lanes * vectors) {
    typename Vector::Values result[vectors];
    for (std::size_t v = 0; v < vectors; ++v) result[v] = Vector::load(rows[0] + first + v * lanes);
    for (std::size_t r = 1; r < count; ++r)
      for (std::size_t v = 0; v < vectors; ++v)
        result[v] = combine(result[v], Vector::load(rows[r] + first + v * lanes));
    for (std::size_t v = 0; v < vectors; ++v) Vector::store(out + first + v * lanes, finish(result[v]));
  }
  return first;
}

template <class Combine, class Finish>
inline __attribute__((always_inline)) void reduce_rows(const float* const* rows, std::size_t count, float* out,
                                                       std::size_t n, Combine combine, Finish finish) {
  std::size_t i = reduce_columns<register_lanes, 4>(rows, count, out, n, 0, combine, finish);
  i = reduce_columns<register_lanes, 1>(rows, count, out, n, i, combine, finish);
  if constexpr (register_lanes > 8) i = reduce_columns<8, 1>(rows, count, out, n, i, combine, finish);
  if constexpr (register_lanes > 4) i = reduce_columns<4, 1>(rows, count, out, n, i, combine, finish);
  reduce_columns<1, 1>(rows, count, out, n, i, combine, finish);
}

}  // namespace

void max_of_rows(const float* const* rows, std::size_t count, float* out, std::size_t n) {
  reduce_rows(rows, count, out, n, Maximum{}, [](auto x) { return x; });
}
void mean_of_rows(const float* const* rows, std::size_t count, float divisor, float* out, std::size_t n) {
  reduce_rows(
      rows, count, out, n, [](auto a, auto b) { return a + b; }, [divisor](auto x) { return x / divisor; });
}

}  // namespace tare::cpu::TARE_ISA
