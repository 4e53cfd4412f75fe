// Einsum and Det. Einsum is planned as on the host: a pair of operands is packed as [batch, rows, inner] and [batch,
// inner, columns] and multiplied by the library. A determinant is eliminated by a team of threads in float64, in the
// host's steps.
#include <cmath>

#include "cpu/einsum.hpp"
#include "cpu/strided_copy.hpp"
#include "float_element.hpp"
#include "operators.hpp"

namespace tare::cuda {
namespace {

struct Pack {
  Nest<1> kept, summed;
  std::int64_t terms;
  FloatInput in;
  FloatOutput out;
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t base = kept.at(i).of[0];
    float sum = 0;
    for (std::int64_t t = 0; t < terms; ++t) sum = sum + in[base + summed.at(t).of[0]];
    out.set(i, sum);
  }
};

struct Operand {
  cpu::Labels labels;
  Tensor tensor;
  std::vector<std::int64_t> dims;
};

/// The elements in the order of `kept`, summed over every other label: a list of the type.
Tensor pack(const Call& call, const Operand& operand, const cpu::Labels& kept, const cpu::Sizes& sizes, DataType type) {
  const cpu::Packing packing = cpu::packing(operand.labels, operand.dims, kept, sizes);
  Pack functor{};
  bool fits = true;
  for (const cpu::Axis& axis : packing.kept) fits = fits && functor.kept.add(axis.size, {axis.stride});
  for (const cpu::Axis& axis : packing.summed) fits = fits && functor.summed.add(axis.size, {axis.stride});
  if (!fits) call.fail(joined("more than ", most_loops, " labels in a term"));
  const std::int64_t count = functor.kept.finish();
  functor.terms = functor.summed.finish();
  Tensor packed = call.device.allocate(type, {count});
  functor.in = operand.tensor;
  functor.out = packed;
  for_each(count, stream_of(call), functor);
  return packed;
}

Operand contract(const Call& call, const Operand& a, const Operand& b, const cpu::Labels& needed,
                 const cpu::Sizes& sizes) {
  const cpu::Contraction pair = cpu::contraction(a.labels, b.labels, needed);
  const Tensor left = pack(call, a, pair.left(), sizes, DataType::float32);
  const Tensor right = pack(call, b, pair.right(), sizes, DataType::float32);
  Operand result{pair.result(), {}, {}};
  for (const int label : result.labels) result.dims.push_back(sizes.at(label));
  result.tensor = call.device.allocate(DataType::float32, {cpu::product(result.labels, sizes)});
  Product product;
  product.rows = cpu::product(pair.rows, sizes);
  product.inner = cpu::product(pair.inner, sizes);
  product.columns = cpu::product(pair.columns, sizes);
  product.batch = cpu::product(pair.batch, sizes);
  product.stride_a = product.rows * product.inner;
  product.stride_b = product.inner * product.columns;
  product.stride_c = product.rows * product.columns;
  if (result.tensor.elements() == 0) return result;
  const float zero = 0;
  if (product.inner == 0)
    cpu::fill(call.device, sizeof zero, &zero, result.tensor.mutable_data(), result.tensor.elements());
  else
    device_of(call).products().multiply(product, left.data<float>(), right.data<float>(),
                                        result.tensor.mutable_data<float>());
  return result;
}

void einsum(Call& call) {
  const cpu::Equation equation = cpu::parse_equation(call);
  const auto operand = [&](std::size_t i) {
    const Tensor& tensor = call.input(i);
    if (!is_quantizable(tensor.type())) cpu::fail_type(call, tensor.type());
    return Operand{equation.inputs[i], tensor, {tensor.shape().begin(), tensor.shape().end()}};
  };
  const DataType type = call.input(0).type();
  Operand result = operand(0);
  for (std::size_t i = 1; i < equation.inputs.size(); ++i)
    result = contract(call, result, operand(i), equation.needed_after(i), equation.sizes);
  Shape shape;
  for (const int label : equation.output) shape.push_back(equation.sizes.at(label));
  call.outputs[0] = pack(call, result, equation.output, equation.sizes, type).reshaped(shape);
}

/// By elimination with partial pivoting; every thread looks for the pivot, so that all agree.
struct Eliminate {
  const float* in;
  double* scratch;
  float* out;
  std::int64_t n;
  __device__ void operator()(std::int64_t which, const Team& team) const {
    double* m = scratch + which * n * n;
    for (std::int64_t i = team.thread; i < n * n; i += team.size) m[i] = static_cast<double>(in[which * n * n + i]);
    team.barrier();
    double result = 1.0;
    for (std::int64_t k = 0; k < n; ++k) {
      std::int64_t pivot = k;
      for (std::int64_t r = k + 1; r < n; ++r)
        if (::fabs(m[r * n + k]) > ::fabs(m[pivot * n + k])) pivot = r;
      const double value = m[pivot * n + k];
      if (value == 0.0) {
        result = 0.0;
        break;
      }
      team.barrier();  // everybody has looked
      if (pivot != k) {
        for (std::int64_t c = team.thread; c < n; c += team.size) {
          const double other = m[k * n + c];
          m[k * n + c] = m[pivot * n + c];
          m[pivot * n + c] = other;
        }
        result = -result;
        team.barrier();
      }
      result *= value;
      const std::int64_t rest = n - k - 1;
      for (std::int64_t i = team.thread; i < rest * rest; i += team.size) {
        const std::int64_t r = k + 1 + i / rest;
        const std::int64_t c = k + 1 + i % rest;
        m[r * n + c] -= m[r * n + k] / value * m[k * n + c];
      }
      team.barrier();
    }
    if (team.thread == 0) out[which] = static_cast<float>(result);
  }
};

void determinant(Call& call) {
  const Tensor in = call.input(0);
  const Shape& shape = in.shape();
  if (shape.rank() < 2 || shape.back() != shape[shape.rank() - 2])
    call.fail("takes square matrices, not the shape " + shape.text());
  if (in.type() != DataType::float32) cpu::fail_type(call, in.type());
  const std::int64_t n = shape.back();
  Tensor& out = call.output(0, DataType::float32, Shape(shape.begin(), shape.end() - 2));
  const Tensor scratch = call.device.allocate(DataType::float64, {std::max<std::int64_t>(in.elements(), 1)});
  Tensor owned = scratch;
  for_each_row(out.elements(), n * n, stream_of(call),
               Eliminate{in.data<float>(), owned.mutable_data<double>(), out.mutable_data<float>(), n});
}

}  // namespace

void register_linear_algebra(OperatorTable& table) {
  table.add("Det", cpu::checked<determinant>);
  table.add("Einsum", cpu::checked<einsum>, cpu::Half::native);
}

}  // namespace tare::cuda
