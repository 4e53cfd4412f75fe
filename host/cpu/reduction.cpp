// ReduceSum, ReduceMean, ReduceMax and the others.
// Neighbouring dimensions that are both kept or both reduced are merged; what is left ends in a reduced dimension (rows
// are summed) or in a kept one (rows are added to rows), and both have one loop. Threads share out results, never one
// sum. Odd: channels_last inputs are reduced as they lie in memory; the result is plain wherever the two orders
// coincide.
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <vector>

#include "cpu/operators.hpp"
#include "cpu/sum_to.hpp"
#include "cpu/vector.hpp"

namespace tare::cpu {
namespace {

enum class Reduce { sum, mean, max, min, prod, l1, l2, log_sum, log_sum_exp, sum_square };

constexpr std::size_t lane_count = 16;
constexpr std::int64_t column_block = 256;
constexpr std::int64_t short_row = 8;  ///< shorter ones are turned into columns: their lanes would stay empty

/// Offsets of the merged dimensions: result o starts at kept(o) and takes the runs of `length` elements at
/// reduced_offsets.
struct Loops {
  bool inner_reduced = false;
  std::int64_t length = 1;  ///< of the innermost merged dimension
  std::int64_t outer = 1;   ///< results, or blocks of `length` results
  std::int64_t count = 1;   ///< elements that go into one result
  std::vector<std::int64_t> kept_sizes, kept_strides;
  std::vector<std::int64_t> reduced_offsets;

  /// Results come from neighbouring rows of a few elements.
  bool short_rows() const {
    return inner_reduced && length <= short_row && reduced_offsets.size() == 1 && kept_sizes.size() <= 1;
  }
  std::int64_t kept(std::int64_t o) const {
    std::int64_t offset = 0;
    for (std::size_t i = kept_sizes.size(); i-- > 0;) {
      offset += o % kept_sizes[i] * kept_strides[i];
      o /= kept_sizes[i];
    }
    return offset;
  }
};

Loops make_loops(const Shape& dims, const std::vector<bool>& reduced) {
  struct Merged {
    std::int64_t size;
    bool reduced;
  };
  std::vector<Merged> merged;
  for (std::size_t i = 0; i < dims.rank(); ++i) {
    if (dims[i] == 1) continue;
    if (!merged.empty() && merged.back().reduced == reduced[i])
      merged.back().size *= dims[i];
    else
      merged.push_back({dims[i], reduced[i]});
  }
  Loops loops;
  if (!merged.empty()) {
    loops.inner_reduced = merged.back().reduced;
    loops.length = merged.back().size;
    merged.pop_back();
  }
  loops.count = loops.inner_reduced ? loops.length : 1;
  std::vector<std::int64_t> sizes, strides;
  std::int64_t stride = loops.length;
  for (std::size_t i = merged.size(); i-- > 0;) {
    if (merged[i].reduced) {
      sizes.insert(sizes.begin(), merged[i].size);
      strides.insert(strides.begin(), stride);
      loops.count *= merged[i].size;
    } else {
      loops.kept_sizes.insert(loops.kept_sizes.begin(), merged[i].size);
      loops.kept_strides.insert(loops.kept_strides.begin(), stride);
      loops.outer *= merged[i].size;
    }
    stride *= merged[i].size;
  }
  loops.reduced_offsets = {0};
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    std::vector<std::int64_t> next;
    next.reserve(loops.reduced_offsets.size() * static_cast<std::size_t>(sizes[i]));
    for (const std::int64_t base : loops.reduced_offsets)
      for (std::int64_t k = 0; k < sizes[i]; ++k) next.push_back(base + k * strides[i]);
    loops.reduced_offsets = std::move(next);
  }
  return loops;
}

/// add_row(in, n, lanes, o) adds n elements to the lanes of result o; add_columns(in, sums, n, o) adds n elements to
/// the sums of results o…o+n-1; combine joins two accumulators; finish turns one into the result.
template <class Accumulator, class T, class Result, class AddRow, class AddColumns, class Combine, class Finish>
void reduce_loops(const Device& device, const Loops& loops, const T* in, Result* out, Accumulator identity,
                  AddRow&& add_row, AddColumns&& add_columns, Combine&& combine, Finish&& finish) {
  const std::int64_t grain = std::max<std::int64_t>(1, 16384 / (loops.count + 1));
  if (loops.short_rows()) {
    device.parallel(loops.outer, grain, [&](std::int64_t begin, std::int64_t end) {
      T column[column_block];
      Accumulator sums[column_block];
      for (std::int64_t o = begin; o < end; o += column_block) {
        const std::int64_t n = std::min(column_block, end - o);
        std::fill_n(sums, n, identity);
        for (std::int64_t k = 0; k < loops.length; ++k) {
          for (std::int64_t i = 0; i < n; ++i) column[i] = in[(o + i) * loops.length + k];
          add_columns(column, sums, static_cast<std::size_t>(n), o);
        }
        for (std::int64_t i = 0; i < n; ++i) out[o + i] = finish(sums[i]);
      }
    });
    return;
  }
  if (loops.inner_reduced) {
    device.parallel(loops.outer, grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) {
        Accumulator lanes[lane_count];
        std::fill_n(lanes, lane_count, identity);
        const T* base = in + loops.kept(o);
        for (const std::int64_t offset : loops.reduced_offsets)
          add_row(base + offset, static_cast<std::size_t>(loops.length), lanes, o);
        for (std::size_t step = lane_count / 2; step > 0; step /= 2)
          for (std::size_t l = 0; l < step; ++l) lanes[l] = combine(lanes[l], lanes[l + step]);
        out[o] = finish(lanes[0]);
      }
    });
    return;
  }
  const std::int64_t blocks = (loops.length + column_block - 1) / column_block;
  device.parallel(loops.outer * blocks, std::max<std::int64_t>(1, grain / std::min(column_block, loops.length + 1)),
                  [&](std::int64_t begin, std::int64_t end) {
                    for (std::int64_t item = begin; item < end; ++item) {
                      const std::int64_t first = item % blocks * column_block;
                      const std::int64_t n = std::min(column_block, loops.length - first);
                      const std::int64_t o = item / blocks * loops.length + first;
                      Accumulator sums[column_block];
                      std::fill_n(sums, n, identity);
                      const T* base = in + loops.kept(item / blocks) + first;
                      for (const std::int64_t offset : loops.reduced_offsets)
                        add_columns(base + offset, sums, static_cast<std::size_t>(n), o);
                      for (std::int64_t i = 0; i < n; ++i) out[o + i] = finish(sums[i]);
                    }
                  });
}

/// The same from a function of one element: add(accumulator, element, o).
template <class Accumulator, class T, class Result, class Add, class Combine, class Finish>
void reduce_elements(const Device& device, const Loops& loops, const T* in, Result* out, Accumulator identity,
                     Add&& add, Combine&& combine, Finish&& finish) {
  reduce_loops(
      device, loops, in, out, identity,
      [&](const T* x, std::size_t n, Accumulator* lanes, std::int64_t o) {
        for (std::size_t i = 0; i < n; ++i) lanes[i % lane_count] = add(lanes[i % lane_count], x[i], o);
      },
      [&](const T* x, Accumulator* sums, std::size_t n, std::int64_t o) {
        for (std::size_t i = 0; i < n; ++i) sums[i] = add(sums[i], x[i], o + static_cast<std::int64_t>(i));
      },
      combine, finish);
}

template <class T>
constexpr T lowest() {
  if constexpr (std::is_floating_point_v<T>)
    return -std::numeric_limits<T>::infinity();
  else
    return std::numeric_limits<T>::lowest();
}
template <class T>
constexpr T highest() {
  if constexpr (std::is_floating_point_v<T>)
    return std::numeric_limits<T>::infinity();
  else
    return std::numeric_limits<T>::max();
}

template <class T>
T larger(T a, T b) {
  if constexpr (std::is_floating_point_v<T>)
    return b > a || std::isnan(b) ? b : a;
  else
    return b > a ? b : a;
}
template <class T>
T smaller(T a, T b) {
  if constexpr (std::is_floating_point_v<T>)
    return b < a || std::isnan(b) ? b : a;
  else
    return b < a ? b : a;
}

template <Reduce kind, class T>
void reduce_extremum(const Device& device, const Loops& loops, const T* in, T* out) {
  constexpr bool maximum = kind == Reduce::max;
  const T identity = maximum ? lowest<T>() : highest<T>();
  const auto combine = [](T a, T b) { return maximum ? larger(a, b) : smaller(a, b); };
  const auto finish = [](T best) { return best; };
  if constexpr (std::is_same_v<T, float>) {
    const VectorKernels& v = device.vector();
    const auto row = maximum ? v.row_maximum : v.row_minimum;
    const auto columns = maximum ? v.column_maximum : v.column_minimum;
    reduce_loops(
        device, loops, in, out, identity, [=](const T* x, std::size_t n, T* lanes, std::int64_t) { row(x, n, lanes); },
        [=](const T* x, T* best, std::size_t n, std::int64_t) { columns(x, best, n); }, combine, finish);
  } else {
    reduce_elements(
        device, loops, in, out, identity, [&](T best, T x, std::int64_t) { return combine(best, x); }, combine, finish);
  }
}

/// Everything that adds in float64: all kinds for floating types, and those whose result is a root or a logarithm.
template <Reduce kind, class T>
void reduce_real(const Device& device, const Loops& loops, const T* in, T* out) {
  const double count = static_cast<double>(loops.count);
  const auto finish = [count](double sum) {
    if constexpr (kind == Reduce::mean)
      return static_cast<T>(sum / count);
    else if constexpr (kind == Reduce::l2)
      return static_cast<T>(std::sqrt(sum));
    else if constexpr (kind == Reduce::log_sum)
      return static_cast<T>(std::log(sum));
    else
      return static_cast<T>(sum);
  };
  constexpr bool absolute = kind == Reduce::l1;
  constexpr bool square = kind == Reduce::l2 || kind == Reduce::sum_square;
  if constexpr (kind == Reduce::prod) {
    reduce_elements(
        device, loops, in, out, 1.0, [](double product, T x, std::int64_t) { return product * static_cast<double>(x); },
        [](double a, double b) { return a * b; }, finish);
  } else if constexpr (std::is_same_v<T, float>) {
    const VectorKernels& v = device.vector();
    const auto row = absolute ? v.row_absolute_sum : square ? v.row_square_sum : v.row_sum;
    const auto columns = absolute ? v.column_absolute_sum : square ? v.column_square_sum : v.column_sum;
    reduce_loops(
        device, loops, in, out, 0.0, [=](const T* x, std::size_t n, double* lanes, std::int64_t) { row(x, n, lanes); },
        [=](const T* x, double* sums, std::size_t n, std::int64_t) { columns(x, sums, n); },
        [](double a, double b) { return a + b; }, finish);
  } else {
    reduce_elements(
        device, loops, in, out, 0.0,
        [](double sum, T x, std::int64_t) {
          const double wide = static_cast<double>(x);
          return sum + (absolute ? std::abs(wide) : square ? wide * wide : wide);
        },
        [](double a, double b) { return a + b; }, finish);
  }
}

/// Integers wrap around as their type does: the low bits of 64-bit unsigned arithmetic.
template <Reduce kind, class T>
void reduce_integers(const Device& device, const Loops& loops, const T* in, T* out) {
  using Wide = std::uint64_t;
  const auto count = static_cast<std::int64_t>(loops.count);
  constexpr bool product = kind == Reduce::prod;
  const auto combine = [](Wide a, Wide b) { return product ? a * b : a + b; };
  reduce_elements(
      device, loops, in, out, Wide{product ? 1u : 0u},
      [&](Wide sum, T x, std::int64_t) {
        Wide wide = static_cast<Wide>(x);
        if constexpr (kind == Reduce::l1 && std::is_signed_v<T>) wide = x < 0 ? Wide{0} - wide : wide;
        if constexpr (kind == Reduce::sum_square) wide *= wide;
        return combine(sum, wide);
      },
      combine,
      [count](Wide sum) {
        if constexpr (kind != Reduce::mean)
          return static_cast<T>(sum);
        else if (count == 0)
          return T{0};
        else if constexpr (std::is_signed_v<T>)
          return static_cast<T>(static_cast<std::int64_t>(sum) / count);
        else
          return static_cast<T>(sum / static_cast<Wide>(count));
      });
}

template <class T>
void reduce_log_sum_exp(Device& device, const Loops& loops, const T* in, T* out) {
  const auto results = static_cast<std::size_t>(loops.inner_reduced ? loops.outer : loops.outer * loops.length);
  reduce_extremum<Reduce::max>(device, loops, in, out);
  // An infinite maximum must not turn the sum into NaN; an empty set's logarithm is -inf without any shift.
  std::vector<double> shifts(results);
  for (std::size_t o = 0; o < results; ++o) {
    const auto best = static_cast<double>(out[o]);
    shifts[o] = loops.count > 0 && std::isfinite(best) ? best : 0.0;
  }
  std::vector<double> sums(results);
  reduce_elements(
      device, loops, in, sums.data(), 0.0,
      [&](double sum, T x, std::int64_t o) {
        return sum + std::exp(static_cast<double>(x) - shifts[static_cast<std::size_t>(o)]);
      },
      [](double a, double b) { return a + b; }, [](double sum) { return sum; });
  for (std::size_t o = 0; o < results; ++o) out[o] = static_cast<T>(std::log(sums[o]) + shifts[o]);
}

template <Reduce kind>
void reduce_tensor(const Call& call, const Loops& loops, const Tensor& in, Tensor& out) {
  dispatch(in.type(), call, [&]<class T>() {
    const T* x = in.data<T>();
    T* y = out.mutable_data<T>();
    if constexpr (kind == Reduce::max || kind == Reduce::min)
      reduce_extremum<kind>(call.device, loops, x, y);
    else if constexpr (std::is_same_v<T, bool>)
      call.fail("bool tensors have only a maximum and a minimum");
    else if constexpr (kind == Reduce::log_sum_exp)
      reduce_log_sum_exp(call.device, loops, x, y);
    else if constexpr (std::is_floating_point_v<T> || kind == Reduce::l2 || kind == Reduce::log_sum)
      reduce_real<kind>(call.device, loops, x, y);
    else
      reduce_integers<kind>(call.device, loops, x, y);
  });
}

/// A small tensor, element by element.
Tensor plain_copy(const Call& call, const Tensor& tensor) {
  Tensor plain = call.device.allocate(tensor.type(), tensor.shape());
  const std::int64_t channels = tensor.shape()[1];
  const std::int64_t spatial = tensor.shape().elements(2, tensor.rank());
  dispatch_size(tensor.type(), call, [&]<class T>() {
    const T* in = tensor.data<T>();
    T* out = plain.mutable_data<T>();
    for (std::int64_t n = 0; n < tensor.shape()[0]; ++n)
      for (std::int64_t s = 0; s < spatial; ++s)
        for (std::int64_t c = 0; c < channels; ++c) out[(n * channels + c) * spatial + s] = *in++;
  });
  return plain;
}

template <Reduce kind>
void reduce(Call& call) {
  const Tensor& in = call.input(0);
  const std::size_t rank = in.rank();
  std::vector<std::int64_t> axes = call.node.integers("axes");
  if (call.has(1)) {
    const Shape given = call.input(1).to_shape(call.node.label() + ": axes");
    axes.assign(given.begin(), given.end());
  }
  if (axes.empty() && call.node.integer("noop_with_empty_axes", 0) != 0) {
    call.outputs[0] = in;
    return;
  }
  std::vector<bool> reduced(rank, axes.empty());
  for (const std::int64_t axis : axes) reduced[axis_of(call, axis, rank)] = true;

  Shape kept_dims = in.shape();
  Shape final_shape;
  const bool keep = call.node.integer("keepdims", 1) != 0;
  for (std::size_t i = 0; i < rank; ++i) {
    if (reduced[i]) kept_dims[i] = 1;
    if (keep || !reduced[i]) final_shape.push_back(kept_dims[i]);
  }
  const bool moved = in.layout() == Layout::channels_last;
  std::vector<bool> physical(reduced);
  if (moved) {
    for (std::size_t i = 1; i + 1 < rank; ++i) physical[i] = reduced[i + 1];
    physical[rank - 1] = reduced[1];
  }
  // With one channel or one pixel left both orders are the same.
  const bool stays = moved && kept_dims[1] != 1 && kept_dims.elements(2, rank) != 1;
  Tensor out = call.device.allocate(in.type(), kept_dims, stays ? Layout::channels_last : Layout::plain);
  if (out.elements() > 0) reduce_tensor<kind>(call, make_loops(physical_shape(in), physical), in, out);
  if (stays && !keep) out = plain_copy(call, out);
  call.outputs[0] = out.layout() == Layout::plain ? out.reshaped(final_shape) : out;
}

}  // namespace

void register_reduction(OperatorTable& table) {
  register_sum_to(table);
  const auto add = [&](std::string_view name, Function function) {
    table.add(name, Operator{.function = function, .channels_last = true});
  };
  add("ReduceSum", reduce<Reduce::sum>);
  add("ReduceMean", reduce<Reduce::mean>);
  add("ReduceMax", reduce<Reduce::max>);
  add("ReduceMin", reduce<Reduce::min>);
  add("ReduceProd", reduce<Reduce::prod>);
  add("ReduceL1", reduce<Reduce::l1>);
  add("ReduceL2", reduce<Reduce::l2>);
  add("ReduceLogSum", reduce<Reduce::log_sum>);
  add("ReduceLogSumExp", reduce<Reduce::log_sum_exp>);
  add("ReduceSumSquare", reduce<Reduce::sum_square>);
}

}  // namespace tare::cpu
