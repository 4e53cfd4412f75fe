// TopK, CumSum, CumProd, NonZero.
// Odd: NaN sorts above every number, as numpy has it, so that a sort is always well defined.
#include "cpu/sorting.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "cpu/arguments.hpp"

namespace tare::cpu {
namespace {

template <class T>
bool below(T a, T b) {
  if constexpr (std::is_floating_point_v<T>)
    return a < b || (b != b && a == a);
  else
    return a < b;
}

void top_k(Call& call) {
  const Tensor& in = call.input(0);
  if (in.rank() == 0) call.fail("needs rank 1 or more");
  const std::size_t axis = axis_of(call, call.node.integer("axis", -1), in.rank());
  const std::int64_t dim = in.shape()[axis];
  const std::int64_t k = call.inputs.size() > 1 ? integer_of(call, 1, "K") : call.node.integer("k");
  if (k < 0 || k > dim) call.fail(fmt::format("k of {} in a dimension of {}", k, dim));
  const bool largest = call.node.integer("largest", 1) != 0;
  const bool sorted = call.node.integer("sorted", 1) != 0;
  Shape shape = in.shape();
  shape[axis] = k;
  const Tensor source = in;
  const std::int64_t inner = shape.elements(axis + 1, shape.rank());
  const std::int64_t lanes = shape.elements(0, axis) * inner;
  Tensor values = call.device.allocate(in.type(), shape);
  Tensor positions = call.device.allocate(DataType::int64, shape);
  dispatch(in.type(), call, [&]<class T>() {
    const T* from = source.data<T>();
    T* value = values.mutable_data<T>();
    std::int64_t* position = positions.mutable_data<std::int64_t>();
    if (k == 0) return;
    call.device.parallel(lanes, std::max<std::int64_t>(1, 4096 / dim), [&](std::int64_t begin, std::int64_t end) {
      std::vector<std::int64_t> order(static_cast<std::size_t>(dim));
      for (std::int64_t lane = begin; lane < end; ++lane) {
        const T* column = from + lane / inner * dim * inner + lane % inner;
        // Ties go to the lower index, so no two elements are equal.
        const auto before = [&](std::int64_t a, std::int64_t b) {
          const T x = column[a * inner];
          const T y = column[b * inner];
          if (largest ? below(y, x) : below(x, y)) return true;
          if (largest ? below(x, y) : below(y, x)) return false;
          return a < b;
        };
        std::iota(order.begin(), order.end(), std::int64_t{0});
        if (k < dim) std::nth_element(order.begin(), order.begin() + (k - 1), order.end(), before);
        // Unsorted output may come in any order; that of the input is the same every time.
        if (sorted)
          std::sort(order.begin(), order.begin() + k, before);
        else
          std::sort(order.begin(), order.begin() + k);
        const std::int64_t to = lane / inner * k * inner + lane % inner;
        for (std::int64_t i = 0; i < k; ++i) {
          const std::int64_t at = order[static_cast<std::size_t>(i)];
          value[to + i * inner] = column[at * inner];
          position[to + i * inner] = at;
        }
      }
    });
  });
  if (call.wants(0)) call.outputs[0] = values;
  if (call.wants(1)) call.outputs[1] = positions;
}

struct Add {
  static constexpr int neutral = 0;
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a + b);
  }
};
struct Multiply {
  static constexpr int neutral = 1;
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a * b);
  }
};

template <class Combine>
void cumulate(Call& call) {
  const Tensor& in = call.input(0);
  if (in.rank() == 0) call.fail("needs rank 1 or more");
  const std::size_t axis = axis_of(call, integer_of(call, 1, "axis"), in.rank());
  const bool exclusive = call.node.integer("exclusive", 0) != 0;
  const bool reverse = call.node.integer("reverse", 0) != 0;
  const std::int64_t dim = in.shape()[axis];
  const std::int64_t inner = in.shape().elements(axis + 1, in.rank());
  const std::int64_t outer = in.shape().elements(0, axis);
  const Tensor source = in;
  Tensor& out = call.output(0, source.type(), source.shape());
  if (out.elements() == 0) return;
  dispatch(source.type(), call, [&]<class T>() {
    if constexpr (std::is_same_v<T, bool>) {
      call.fail("booleans do not add up");
    } else {
      // Integers are combined as unsigned ones: an overflow wraps.
      using Number = std::conditional_t<std::is_integral_v<T>, std::uint64_t, T>;
      const T* from = source.data<T>();
      T* to = out.mutable_data<T>();
      const Combine combine;
      call.device.parallel(
          outer, std::max<std::int64_t>(1, 16384 / (dim * inner)), [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t o = begin; o < end; ++o) {
              const std::int64_t first = o * dim * inner + (reverse ? (dim - 1) * inner : 0);
              const std::int64_t step = reverse ? -inner : inner;
              for (std::int64_t i = 0; i < inner; ++i)
                to[first + i] = exclusive ? static_cast<T>(Combine::neutral) : from[first + i];
              for (std::int64_t d = 1; d < dim; ++d) {
                const std::int64_t at = first + d * step;
                const T* added = from + (exclusive ? at - step : at);
                for (std::int64_t i = 0; i < inner; ++i)
                  to[at + i] =
                      static_cast<T>(combine(static_cast<Number>(to[at - step + i]), static_cast<Number>(added[i])));
              }
            }
          });
    }
  });
}

void non_zero(Call& call) {
  const Tensor& in = call.input(0);
  const Shape shape = in.shape();
  std::vector<std::int64_t> found;
  dispatch(in.type(), call, [&]<class T>() {
    const std::span<const T> elements = in.span<T>();
    for (std::size_t i = 0; i < elements.size(); ++i)
      if (elements[i] != T(0)) found.push_back(static_cast<std::int64_t>(i));
  });
  const auto count = static_cast<std::int64_t>(found.size());
  std::int64_t* to =
      call.output(0, DataType::int64, {static_cast<std::int64_t>(shape.rank()), count}).mutable_data<std::int64_t>();
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t rest = found[static_cast<std::size_t>(i)];
    for (std::size_t d = shape.rank(); d-- > 0;) {
      to[static_cast<std::int64_t>(d) * count + i] = rest % shape[d];
      rest /= shape[d];
    }
  }
}

}  // namespace

void register_sorting(OperatorTable& table) {
  table.add("TopK", checked<top_k>);
  table.add("CumSum", checked<cumulate<Add>, 2>);
  table.add("CumProd", checked<cumulate<Multiply>, 2>);
  table.add("NonZero", checked<non_zero>);
  register_arguments_of_extremes(table);
  register_unique(table);
  register_non_max_suppression(table);
}

}  // namespace tare::cpu
