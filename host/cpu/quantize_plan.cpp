// Odd: grids are kept in the order in which their rows lie in memory, unless there are more than caches should hold;
// then they are made again, a few at a time.
#include "cpu/quantize_plan.hpp"

#include <algorithm>

namespace tare::cpu {
namespace {

constexpr std::int64_t most_kept = 4096;
constexpr std::int64_t narrow_row = 64;  // rows with fewer grids than this are laid side by side

static_assert(sizeof(Encoding) == 4 * sizeof(double) && offsetof(Encoding, min) == 0 &&
              offsetof(Encoding, max) == sizeof(double) && offsetof(Encoding, scale) == 2 * sizeof(double) &&
              offsetof(Encoding, offset) == 3 * sizeof(double));  // as make_grids reads them

}  // namespace

QuantizePlan::Loops QuantizePlan::loops_of(const VectorKernels& vector, NumberFormat format, Rounding rounding) {
  switch (format) {
    case NumberFormat::float16: return {vector.qdq_float16, nullptr, nullptr};
    case NumberFormat::float8e4m3fn:
      return {vector.qdq_float8e4m3fn, vector.qdq_float8e4m3fn_rows, vector.qdq_float8e4m3fn_columns};
    case NumberFormat::float8e5m2:
      return {vector.qdq_float8e5m2, vector.qdq_float8e5m2_rows, vector.qdq_float8e5m2_columns};
    case NumberFormat::integer: break;
  }
  if (rounding == Rounding::half_up) return {vector.qdq_half_up, vector.qdq_half_up_rows, vector.qdq_half_up_columns};
  return {vector.qdq_half_even, vector.qdq_half_even_rows, vector.qdq_half_even_columns};
}

QuantizePlan::QuantizePlan(const VectorKernels& vector, const Tensor& tensor, const TensorEncodings& encodings,
                           Rounding rounding)
    : vector_(vector),
      encodings_(encodings.encodings),
      steps_(static_cast<double>(encodings.spec.steps())),
      loops_(loops_of(vector, encodings.spec.format, rounding)),
      runs_(grid_runs(tensor.shape(), tensor.layout(), encodings)),
      row_(runs_.dimensions[0].size * runs_.run),
      same_rows_(runs_.dimensions[1].stride == 0),
      neighbours_(runs_.dimensions[0].block * runs_.run) {
  join_dimensions();
  if (runs_.count() == 1)
    grid_ = grids_of(runs_, encodings).front();
  else
    keep_grids();
}

/// Where the grids of one row follow those of the one before it there is one long row: pieces of it are found by one
/// division, which counts beside a piece of a few hundred elements.
void QuantizePlan::join_dimensions() {
  const GridDimension& inner = runs_.dimensions[0];
  const GridDimension& outer = runs_.dimensions[1];
  if (same_rows_ || inner.block != 1 || outer.block != 1 || inner.stride != 1 || outer.stride != inner.size ||
      outer.runs_inside != inner.size)
    return;
  row_ *= outer.size;
  same_rows_ = true;
}

/// Few columns side by side: several rows become one, so that the loop over a row pays.
void QuantizePlan::keep_grids() {
  const std::int64_t count = runs_.count();
  const bool columns = neighbours_ == 1;
  if (!columns && count > most_kept) return;
  std::int64_t copies = 1;
  if (columns && same_rows_) {
    const std::int64_t rows = runs_.elements / row_;
    while (copies * row_ < narrow_row && rows % (copies * 2) == 0) copies *= 2;
    row_ *= copies;
  }
  kept_ = count * copies;
  members_.resize(grid_members * static_cast<std::size_t>(kept_));
  by_product_ = true;
  for (std::int64_t copy = 0; copy < copies; ++copy)
    by_product_ &= make(0, count, members_.data() + copy * count, kept_);
}

bool QuantizePlan::make(std::int64_t first, std::int64_t count, float* members, std::int64_t pitch) const {
  bool by_product = true;
  const auto* numbers = reinterpret_cast<const double*>(encodings_.data());
  const std::int64_t stride = runs_.channels_inside ? runs_.blocks : 1;  // of encodings
  const std::int64_t lap = runs_.channels_inside ? runs_.channels : runs_.count();
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t grid = first + done;
    const std::int64_t some = std::min(count - done, lap - grid % lap);
    const std::int64_t encoding = runs_.encoding_of(grid);
    by_product &=
        vector_.make_grids(numbers + 4 * encoding, static_cast<std::size_t>(stride), static_cast<std::size_t>(some),
                           steps_, members + done, static_cast<std::size_t>(pitch));
    done += some;
  }
  return by_product;
}

Grids QuantizePlan::kept_from(std::int64_t grid) const {
  return {members_.data() + grid, static_cast<std::size_t>(kept_), static_cast<float>(steps_), by_product_};
}

void QuantizePlan::run(const float* in, float* out, std::int64_t begin, std::int64_t end, Window& window) const {
  if (runs_.count() == 1) return loops_.uniform(in, out, static_cast<std::size_t>(end - begin), grid_);
  const bool columns = neighbours_ == 1;
  while (begin < end) {
    const std::int64_t at = begin < row_ ? begin : begin % row_;
    const std::int64_t first = same_rows_ ? 0 : runs_.grid_of(begin / row_ * runs_.dimensions[0].size);
    std::int64_t done = std::min(row_ - at, end - begin);
    if (columns) {
      const std::int64_t rows = same_rows_ && at == 0 ? std::max<std::int64_t>((end - begin) / row_, 1) : 1;
      loops_.columns(in, out, static_cast<std::size_t>(rows), static_cast<std::size_t>(done), kept_from(first + at));
      done *= rows;
    } else {
      run_rows(in, out, done, first * neighbours_ + at, window);
    }
    begin += done;
    in += done;
    out += done;
  }
}

/// `count` elements from the one on that is `at` places behind the first one of the first grid.
void QuantizePlan::run_rows(const float* in, float* out, std::int64_t count, std::int64_t at, Window& window) const {
  const std::int64_t n = neighbours_;
  std::int64_t grid = at / n;
  std::int64_t place = at % n;
  const auto rows = [&](std::int64_t some, const Grids& grids) {
    loops_.rows(in, out, static_cast<std::size_t>(some), static_cast<std::size_t>(n), static_cast<std::size_t>(place),
                grids);
  };
  if (kept_ > 0) return rows(count, kept_from(grid));
  while (count > 0) {
    if (grid < window.first || grid >= window.first + window.count) {
      window.first = grid;
      window.count = std::min(Window::most, runs_.count() - grid);
      window.by_product = make(grid, window.count, window.members, Window::most);
    }
    const std::int64_t end = window.first + window.count;
    const std::int64_t some = std::min(count, (end - grid) * n - place);
    rows(some, {window.members + (grid - window.first), Window::most, static_cast<float>(steps_), window.by_product});
    count -= some;
    in += some;
    out += some;
    grid = end;  // if anything is left
    place = 0;
  }
}

}  // namespace tare::cpu
