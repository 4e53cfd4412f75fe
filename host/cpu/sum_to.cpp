// Sums are taken in float64, element by element: shapes are small where this runs.
#include "cpu/sum_to.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cpu/arguments.hpp"

namespace tare::cpu {
namespace {

/// For every element of `from`, in order, the element of `to` that it was broadcast from.
std::vector<std::int64_t> sources(const Call& call, const Shape& from, const Shape& to) {
  if (to.rank() > from.rank() || broadcast(call, from, to) != from)
    call.fail(fmt::format("{} is not broadcast from {}", from.text(), to.text()));
  std::vector<std::int64_t> result{0};
  std::int64_t stride = to.elements();
  for (std::size_t d = 0; d < from.rank(); ++d) {
    const std::size_t missing = from.rank() - to.rank();
    const std::int64_t dim = d < missing ? 1 : to[d - missing];
    stride /= std::max<std::int64_t>(dim, 1);
    std::vector<std::int64_t> next;
    for (const std::int64_t at : result)
      for (std::int64_t i = 0; i < from[d]; ++i) next.push_back(at + (dim == 1 ? 0 : i * stride));
    result = std::move(next);
  }
  return result;
}

void sum_to(Call& call) {
  const Tensor in = call.input(0);
  const Shape shape = call.input(1).shape();
  if (in.shape() == shape) {
    call.outputs[0] = in;
    return;
  }
  const std::vector<std::int64_t> to = sources(call, in.shape(), shape);
  std::vector<double> sums(static_cast<std::size_t>(shape.elements()), 0.0);
  Tensor out = call.device.allocate(in.type(), shape);
  dispatch(in.type(), call, [&]<class T>() {
    for (std::size_t i = 0; i < to.size(); ++i)
      sums[static_cast<std::size_t>(to[i])] += static_cast<double>(in.data<T>()[i]);
    std::transform(sums.begin(), sums.end(), out.mutable_data<T>(), [](double sum) { return static_cast<T>(sum); });
  });
  call.outputs[0] = out;
}

}  // namespace

void register_sum_to(OperatorTable& table) { table.add("tare::SumTo", checked<sum_to, 2>); }

}  // namespace tare::cpu
