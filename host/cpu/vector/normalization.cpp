// Subtract a mean, multiply, add: for a row with one set of numbers, for a row with one set an element, and for rows of
// channels that share a set a column. Written with the mean taken out first: a folded a*x+b cancels where |mean| >>
// deviation.
#include "cpu/vector/isa.hpp"
#include "cpu/vector/lanes.hpp"

namespace tare::cpu::TARE_ISA {
namespace {

constexpr std::size_t wide = 16;
constexpr std::size_t narrow = 8;

/// Parameters of columns, and `rows` rows `stride` apart.
struct Columns {
  const float* centers;
  const float* factors;
  const float* addends;
  std::size_t rows;
  std::size_t stride;
};

/// `lanes` columns, whose parameters stay in registers.
template <std::size_t lanes>
inline __attribute__((always_inline)) void affine(const Columns& columns, std::size_t first, const float* in,
                                                  float* out) {
  using Vector = Lanes<lanes>;
  const auto center = Vector::load(columns.centers + first);
  const auto factor = Vector::load(columns.factors + first);
  const auto addend = Vector::load(columns.addends + first);
  for (std::size_t r = 0; r < columns.rows; ++r) {
    const std::size_t at = r * columns.stride + first;
    Vector::store(out + at, (Vector::load(in + at) - center) * factor + addend);
  }
}

}  // namespace

void row_affine(const float* in, float center, float factor, float addend, float* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = (in[i] - center) * factor + addend;
}

void column_affine(const float* in, const float* centers, const float* factors, const float* addends, float* out,
                   std::size_t rows, std::size_t n) {
  if (n < wide && wide % n == 0 && rows % (wide / n) == 0 && rows > 0) {  // several rows are one
    float repeated[3][wide];
    for (std::size_t i = 0; i < wide; ++i) {
      repeated[0][i] = centers[i % n];
      repeated[1][i] = factors[i % n];
      repeated[2][i] = addends[i % n];
    }
    return column_affine(in, repeated[0], repeated[1], repeated[2], out, rows * n / wide, wide);
  }
  for_cached_rows(in, out, rows, n, [&](const float* from, float* to, std::size_t some) {
    const Columns columns{centers, factors, addends, some, n};
    std::size_t i = 0;
    for (; i + wide <= n; i += wide) affine<wide>(columns, i, from, to);
    for (; i + narrow <= n; i += narrow) affine<narrow>(columns, i, from, to);
    for (; i < n; ++i) affine<1>(columns, i, from, to);
  });
}

void row_normalize(const float* in, float center, float factor, const float* scales, const float* biases, float* out,
                   std::size_t n) {
  if (biases == nullptr)
    for (std::size_t i = 0; i < n; ++i) out[i] = (in[i] - center) * factor * scales[i];
  else
    for (std::size_t i = 0; i < n; ++i) out[i] = (in[i] - center) * factor * scales[i] + biases[i];
}

}  // namespace tare::cpu::TARE_ISA
