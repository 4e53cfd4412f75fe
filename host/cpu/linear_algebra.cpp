// Einsum and Det.
// Einsum contracts its operands pair by pair, left to right. A pair is packed as [batch, rows, inner] and [batch,
// inner, columns] and multiplied; a label that only one operand has, and nobody after it, is summed while packing. What
// is planned stands in einsum.cpp.
#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/einsum.hpp"
#include "cpu/elementwise.hpp"
#include "cpu/vector.hpp"

namespace tare::cpu {
namespace {

template <class T>
struct Operand {
  Labels labels;
  std::vector<std::int64_t> dims;
  std::vector<T> storage;
  const T* data = nullptr;
};

/// The elements in the order of `kept`, summed over every other label. Repeated labels walk the diagonal; a dimension
/// of 1 is repeated to the label's size.
template <class T>
std::vector<T> pack(const Device& device, const Operand<T>& operand, const Labels& kept, const Sizes& sizes) {
  auto [outer, summed] = packing(operand.labels, operand.dims, kept, sizes);
  const std::int64_t count = steps_of(outer), terms = steps_of(summed);
  const auto offset_of = [](const std::vector<Axis>& axes, std::int64_t index) {
    std::int64_t offset = 0;
    for (std::size_t i = axes.size(); i-- > 0;) {
      offset += index % axes[i].size * axes[i].stride;
      index /= axes[i].size;
    }
    return offset;
  };
  std::vector<T> packed(static_cast<std::size_t>(count));
  // The last kept axis is the inner loop; the others are found by division once a run.
  const Axis inner = outer.empty() ? Axis{1, 0} : outer.back();
  if (!outer.empty()) outer.pop_back();
  if (count == 0) return packed;
  device.parallel(count / inner.size, std::max<std::int64_t>(1, 16384 / (inner.size * terms + 1)),
                  [&](std::int64_t begin, std::int64_t end) {
                    for (std::int64_t run = begin; run < end; ++run) {
                      T* out = packed.data() + run * inner.size;
                      const T* base = operand.data + offset_of(outer, run);
                      for (std::int64_t t = 0; t < terms; ++t) {
                        const T* in = base + offset_of(summed, t);
                        for (std::int64_t i = 0; i < inner.size; ++i)
                          out[i] = static_cast<T>(Accumulator<T>(out[i]) + Accumulator<T>(in[i * inner.stride]));
                      }
                    }
                  });
  return packed;
}

template <class T>
void multiply(const Device& device, const T* a, const T* b, T* c, std::int64_t batch, std::int64_t rows,
              std::int64_t inner, std::int64_t columns) {
  constexpr std::int64_t block = 16;
  const std::int64_t blocks = (rows + block - 1) / block;
  device.parallel(batch * blocks, std::max<std::int64_t>(1, 16384 / (block * inner * columns + 1)),
                  [&](std::int64_t begin, std::int64_t end) {
                    for (std::int64_t item = begin; item < end; ++item) {
                      const std::int64_t first = item % blocks * block;
                      const std::int64_t height = std::min(block, rows - first);
                      const T* x = a + (item / blocks * rows + first) * inner;
                      const T* y = b + item / blocks * inner * columns;
                      T* z = c + (item / blocks * rows + first) * columns;
                      if constexpr (std::is_same_v<T, float>) {
                        device.vector().matrix_product(x, y, z, static_cast<std::size_t>(height),
                                                       static_cast<std::size_t>(inner),
                                                       static_cast<std::size_t>(columns));
                      } else {
                        std::fill_n(z, height * columns, T{0});
                        for (std::int64_t r = 0; r < height; ++r)
                          for (std::int64_t k = 0; k < inner; ++k)
                            for (std::int64_t n = 0; n < columns; ++n)
                              z[r * columns + n] =
                                  static_cast<T>(Accumulator<T>(z[r * columns + n]) +
                                                 Accumulator<T>(x[r * inner + k]) * Accumulator<T>(y[k * columns + n]));
                      }
                    }
                  });
}

/// One pair: what `needed` (the output and the operands to come) does not mention is summed.
template <class T>
Operand<T> contract(const Device& device, const Operand<T>& a, const Operand<T>& b, const Labels& needed,
                    const Sizes& sizes) {
  const Contraction pair = contraction(a.labels, b.labels, needed);
  const std::vector<T> left = pack(device, a, pair.left(), sizes);
  const std::vector<T> right = pack(device, b, pair.right(), sizes);
  Operand<T> result;
  result.labels = pair.result();
  for (const int label : result.labels) result.dims.push_back(sizes.at(label));
  result.storage.resize(static_cast<std::size_t>(product(result.labels, sizes)));
  multiply(device, left.data(), right.data(), result.storage.data(), product(pair.batch, sizes),
           product(pair.rows, sizes), product(pair.inner, sizes), product(pair.columns, sizes));
  result.data = result.storage.data();
  return result;
}

void einsum(Call& call) {
  const Equation equation = parse_equation(call);
  Shape shape;
  for (const int label : equation.output) shape.push_back(equation.sizes.at(label));
  const DataType type = call.input(0).type();
  Tensor& out = call.output(0, type, shape);
  dispatch(type, call, [&]<class T>() {
    if constexpr (std::is_same_v<T, bool>) {
      call.fail("bool tensors cannot be summed");
    } else {
      const auto operand = [&](std::size_t i) {
        const Tensor& tensor = call.input(i);
        if (tensor.type() != type) call.fail("the inputs are of different types");
        return Operand<T>{equation.inputs[i], {tensor.shape().begin(), tensor.shape().end()}, {}, tensor.data<T>()};
      };
      Operand<T> result = operand(0);
      for (std::size_t i = 1; i < equation.inputs.size(); ++i) {
        result = contract(call.device, result, operand(i), equation.needed_after(i), equation.sizes);
        result.data = result.storage.data();
      }
      const std::vector<T> values = pack(call.device, result, equation.output, equation.sizes);
      std::copy(values.begin(), values.end(), out.mutable_data<T>());
    }
  });
}

/// By elimination with partial pivoting, in float64.
double determinant(std::vector<double>& matrix, std::size_t n) {
  double result = 1.0;
  for (std::size_t k = 0; k < n; ++k) {
    std::size_t pivot = k;
    for (std::size_t r = k + 1; r < n; ++r)
      if (std::abs(matrix[r * n + k]) > std::abs(matrix[pivot * n + k])) pivot = r;
    const double value = matrix[pivot * n + k];
    if (value == 0.0) return 0.0;
    if (pivot != k) {
      std::swap_ranges(matrix.begin() + static_cast<std::ptrdiff_t>(k * n),
                       matrix.begin() + static_cast<std::ptrdiff_t>((k + 1) * n),
                       matrix.begin() + static_cast<std::ptrdiff_t>(pivot * n));
      result = -result;
    }
    result *= value;
    for (std::size_t r = k + 1; r < n; ++r) {
      const double factor = matrix[r * n + k] / value;
      for (std::size_t c = k + 1; c < n; ++c) matrix[r * n + c] -= factor * matrix[k * n + c];
    }
  }
  return result;
}

void det(Call& call) {
  const Tensor& in = call.input(0);
  const Shape& shape = in.shape();
  if (shape.rank() < 2 || shape.back() != shape[shape.rank() - 2])
    call.fail("takes square matrices, not the shape " + shape.text());
  const auto n = static_cast<std::size_t>(shape.back());
  Tensor& out = call.output(0, in.type(), Shape(shape.begin(), shape.end() - 2));
  const auto run = [&]<class T>() {
    std::vector<double> matrix(n * n);
    for (std::int64_t b = 0; b < out.elements(); ++b) {
      std::copy_n(in.data<T>() + b * static_cast<std::int64_t>(n * n), n * n, matrix.begin());
      out.mutable_data<T>()[b] = static_cast<T>(determinant(matrix, n));
    }
  };
  if (in.type() == DataType::float32)
    run.template operator()<float>();
  else if (in.type() == DataType::float64)
    run.template operator()<double>();
  else
    call.fail("takes floating-point tensors, not " + std::string(name_of(in.type())));
}

}  // namespace

void register_linear_algebra(OperatorTable& table) {
  table.add("Einsum", einsum);
  table.add("Det", det);
}

}  // namespace tare::cpu
