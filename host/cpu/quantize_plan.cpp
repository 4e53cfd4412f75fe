// Odd: grids are kept in the order in which their rows lie in memory, unless there are more than caches should hold;
// then they are made again, a few at a time.
#include "cpu/quantize_plan.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "plan/encoding_index.hpp"

namespace tare::cpu {
namespace {

constexpr std::int64_t most_kept = 4096;
constexpr std::int64_t narrow_row = 64;  // rows with fewer grids than this are laid side by side

static_assert(sizeof(Encoding) == 4 * sizeof(double) && offsetof(Encoding, min) == 0 &&
              offsetof(Encoding, max) == sizeof(double) && offsetof(Encoding, scale) == 2 * sizeof(double) &&
              offsetof(Encoding, offset) == 3 * sizeof(double));  // as make_grids reads them

[[noreturn]] void fail(const TensorEncodings& encodings, const std::string& message) {
  throw Error(ErrorKind::data, fmt::format("quantizer of '{}': {}", encodings.tensor, message));
}

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
      loops_(loops_of(vector, encodings.spec.format, rounding)) {
  lay_out(tensor, encodings);
  keep_grids();
}

GridAxes grid_axes(const TensorEncodings& encodings, const Shape& shape) {
  QuantizerSpec spec = encodings.spec;
  if (spec.format == NumberFormat::float16) return {};
  const auto count_from_front = [&](std::optional<int>& axis, const char* what) {
    if (!axis) return;
    const int rank = static_cast<int>(shape.rank());
    if (*axis < -rank || *axis >= rank)
      fail(encodings, fmt::format("{} axis {} does not exist in a tensor of shape {}", what, *axis, shape.text()));
    if (*axis < 0) *axis += rank;
  };
  count_from_front(spec.channel_axis, "channel");
  count_from_front(spec.block_axis, "block");
  if (spec.block_axis && spec.block_size <= 0) fail(encodings, fmt::format("block size {}", spec.block_size));
  if (spec.block_axis && spec.block_axis == spec.channel_axis)
    fail(encodings, fmt::format("axis {} is both the channel and the block axis", *spec.block_axis));
  const EncodingIndex index(spec, shape);
  return {spec.channel_axis.value_or(-1), spec.block_axis.value_or(-1), static_cast<std::int64_t>(index.channels()),
          static_cast<std::int64_t>(index.blocks())};
}

void QuantizePlan::lay_out(const Tensor& tensor, const TensorEncodings& encodings) {
  const Shape& shape = tensor.shape();
  const QuantizerSpec& spec = encodings.spec;
  const auto [channel_axis, block_axis, channels, blocks] = grid_axes(encodings, shape);
  if (spec.format == NumberFormat::float16 || (spec.format != NumberFormat::integer && encodings_.empty())) {
    dimensions_.push_back({});
    return;
  }

  channels_ = channels;
  blocks_ = blocks;
  if (static_cast<std::int64_t>(encodings_.size()) != channels_ * blocks_)
    fail(encodings, fmt::format("{} encodings for {} channels of {} blocks", encodings_.size(), channels_, blocks_));

  std::vector<std::int64_t> order;
  for (std::size_t i = 0; i < shape.rank(); ++i) order.push_back(static_cast<std::int64_t>(i));
  if (tensor.layout() == Layout::channels_last && shape.rank() >= 3)
    std::rotate(order.begin() + 1, order.begin() + 2, order.end());
  channels_inner_ =
      channel_axis >= 0 && block_axis >= 0 &&
      std::find(order.begin(), order.end(), block_axis) < std::find(order.begin(), order.end(), channel_axis);
  // A dimension without grids goes on with the one before it: with its blocks, or without grids as well.
  for (const std::int64_t axis : order) {
    Dimension dimension{shape[static_cast<std::size_t>(axis)], 0, 1};
    if (axis == channel_axis) dimension.stride = channels_inner_ ? 1 : blocks_;
    if (axis == block_axis) {
      dimension.stride = channels_inner_ ? channels_ : 1;
      dimension.block = spec.block_size;
    }
    if (dimension.size == 1) continue;
    if (dimension.stride != 0 || dimensions_.empty()) {
      dimensions_.push_back(dimension);
    } else {
      dimensions_.back().size *= dimension.size;
      dimensions_.back().block *= dimension.size;
    }
  }
  if (dimensions_.empty()) dimensions_.push_back({});
}

/// Few channels side by side and no blocks: several rows become one, so that the loop over a row pays.
void QuantizePlan::keep_grids() {
  Dimension& inner = dimensions_.back();
  const std::int64_t count = channels_ * blocks_;
  const bool columns = inner.has_columns();
  if (inner.stride == 0) grid_ = single_grid();
  if (inner.stride == 0 || (!columns && count > most_kept)) return;
  std::int64_t copies = 1;
  if (columns && blocks_ == 1 && inner.size < narrow_row && dimensions_.size() == 2) {
    const std::int64_t rows = dimensions_[0].size;
    while (copies * inner.size < narrow_row && rows % (copies * 2) == 0) copies *= 2;
    dimensions_[0].size /= copies;
    inner.size *= copies;
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
  const std::int64_t stride = channels_inner_ ? blocks_ : 1;
  const std::int64_t lap = channels_inner_ ? channels_ : channels_ * blocks_;  // grids of encodings equally far apart
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t grid = first + done;
    const std::int64_t some = std::min(count - done, lap - grid % lap);
    const std::int64_t encoding = grid % lap * stride + grid / lap;
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

Grid QuantizePlan::single_grid() const {
  if (encodings_.empty()) return make_grid(1.0, 0.0, 0.0, 0.0, 0.0);  // a float format needs no range
  const Encoding& e = encodings_[0];
  return make_grid(e.scale, e.offset, steps_, e.min, e.max);
}

std::int64_t QuantizePlan::first_grid(std::int64_t row) const {
  std::int64_t grid = 0;
  for (std::size_t i = dimensions_.size() - 1; i-- > 0;) {
    const Dimension& dimension = dimensions_[i];
    grid += row % dimension.size / dimension.block * dimension.stride;
    row /= dimension.size;
  }
  return grid;
}

void QuantizePlan::run(const float* in, float* out, std::int64_t begin, std::int64_t end, Window& window) const {
  const Dimension& inner = dimensions_.back();
  if (inner.stride == 0) return loops_.uniform(in, out, static_cast<std::size_t>(end - begin), grid_);
  const bool columns = inner.has_columns();
  const bool same_rows = dimensions_.size() == 1 || (dimensions_.size() == 2 && dimensions_[0].stride == 0);
  while (begin < end) {
    const std::int64_t at = dimensions_.size() == 1 ? begin : begin % inner.size;
    const std::int64_t first = same_rows ? 0 : first_grid(begin / inner.size);
    std::int64_t done = std::min(inner.size - at, end - begin);
    if (columns) {
      const std::int64_t rows = same_rows && at == 0 ? std::max<std::int64_t>((end - begin) / inner.size, 1) : 1;
      loops_.columns(in, out, static_cast<std::size_t>(rows), static_cast<std::size_t>(done), kept_from(first + at));
      done *= rows;
    } else {
      run_rows(in, out, done, first * inner.block + at, window);
    }
    begin += done;
    in += done;
    out += done;
  }
}

/// `count` elements from the one on that is `at` places behind the first one of the first grid.
void QuantizePlan::run_rows(const float* in, float* out, std::int64_t count, std::int64_t at, Window& window) const {
  const std::int64_t n = dimensions_.back().block;
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
      window.count = std::min(Window::most, channels_ * blocks_ - grid);
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
