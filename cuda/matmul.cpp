// MatMul and Gemm. Batches that only one operand has, or that both
// have alike, are one call of the library; other broadcasts are one call a matrix.
#include <fmt/format.h>

#include "bias.hpp"
#include "cpu/strided_copy.hpp"
#include "products.hpp"

namespace tare::cuda {
namespace {

struct Operands {
  Shape batch_a, batch_b, batch, output;
  Product product;
};

Operands describe(const Call& call, Shape a, Shape b, bool gemm, bool transpose_a, bool transpose_b) {
  const Shape given_a = a;
  const Shape given_b = b;
  const auto refuse = [&] {
    call.fail(fmt::format("operands of shapes {} and {} do not fit", given_a.text(), given_b.text()));
  };
  if (gemm ? a.rank() != 2 || b.rank() != 2 : a.empty() || b.empty()) refuse();
  const bool vector_a = a.rank() == 1;
  const bool vector_b = b.rank() == 1;
  if (vector_a) a.insert(0, 1);
  if (vector_b) b.push_back(1);
  Operands o;
  Product& p = o.product;
  p.transpose_a = transpose_a;
  p.transpose_b = transpose_b;
  p.rows = a[a.rank() - (transpose_a ? 1 : 2)];
  p.inner = a[a.rank() - (transpose_a ? 2 : 1)];
  p.columns = b[b.rank() - (transpose_b ? 2 : 1)];
  if (p.inner != b[b.rank() - (transpose_b ? 1 : 2)]) refuse();
  o.batch_a = Shape(a.begin(), a.end() - 2);
  o.batch_b = Shape(b.begin(), b.end() - 2);
  o.batch = cpu::broadcast(call, o.batch_a, o.batch_b);
  while (o.batch_a.rank() < o.batch.rank()) o.batch_a.insert(0, 1);
  while (o.batch_b.rank() < o.batch.rank()) o.batch_b.insert(0, 1);
  o.output = o.batch;
  if (!vector_a) o.output.push_back(p.rows);
  if (!vector_b) o.output.push_back(p.columns);
  return o;
}

/// The matrix of an operand with batch dimensions `own` that serves matrix i of the result.
std::int64_t matrix_of(std::int64_t i, const Shape& batch, const Shape& own) {
  std::int64_t index = 0;
  std::int64_t stride = 1;
  for (std::size_t d = batch.rank(); d-- > 0;) {
    if (own[d] != 1) index += i % batch[d] * stride;
    stride *= own[d];
    i /= batch[d];
  }
  return index;
}

/// With what `bias` adds to every row, where it is present. False where halves must be widened, or the bias added
/// apart.
bool multiply(const Call& call, Operands o, const Tensor& a, const Tensor& b, const Tensor& bias, Tensor& y) {
  Product p = o.product;
  if (y.elements() == 0) return true;
  p.type = a.type();
  p.result = y.type();
  std::byte* out = y.mutable_data();
  if (p.inner == 0) {
    if (bias.present()) return false;
    const float zero = 0;
    cpu::fill(call.device, size_of(y.type()), &zero, out, y.elements());
    return true;
  }
  const auto operand_size = static_cast<std::int64_t>(size_of(a.type()));
  const auto result_size = static_cast<std::int64_t>(size_of(y.type()));
  const auto product = [&](const std::byte* left, const std::byte* right, std::byte* to) {
    return device_of(call).products().multiply(p, left, right, to, bias.data());
  };
  const std::int64_t matrices = o.batch.elements();
  const std::int64_t size_a = p.rows * p.inner;
  const std::int64_t size_b = p.inner * p.columns;
  const std::int64_t size_c = p.rows * p.columns;
  const std::int64_t count_a = o.batch_a.elements();
  const std::int64_t count_b = o.batch_b.elements();
  if (count_b == 1 && !p.transpose_a) {
    p.rows *= matrices;
    return product(a.data(), b.data(), out);
  }
  if ((count_a == matrices || count_a == 1) && (count_b == matrices || count_b == 1)) {
    p.stride_a = count_a == 1 ? 0 : size_a;
    p.stride_b = count_b == 1 ? 0 : size_b;
    p.stride_c = size_c;
    p.batch = matrices;
    return product(a.data(), b.data(), out);
  }
  for (std::int64_t i = 0; i < matrices; ++i)
    if (!product(a.data() + matrix_of(i, o.batch, o.batch_a) * size_a * operand_size,
                 b.data() + matrix_of(i, o.batch, o.batch_b) * size_b * operand_size, out + i * size_c * result_size))
      return false;
  return true;
}

void run_product(Call& call, bool gemm) {
  cpu::require_inputs(call, 2);
  const DataType type = call.input(0).type();
  if (!is_quantizable(type) || call.input(1).type() != type)
    call.fail(fmt::format("operands of types {} and {}", name_of(type), name_of(call.input(1).type())));
  // Half operands go to the library as they are; what follows its sums is float32, and rounded once.
  const bool native = device_of(call).products().takes(type);
  for (std::size_t i = native ? 2 : 0; i < call.inputs.size(); ++i)
    if (call.has(i) && call.inputs[i].type() == type && type != DataType::float32)
      call.inputs[i] = widen(device_of(call), call.inputs[i]);
  const Tensor a = call.input(0);
  const Tensor b = call.input(1);
  Operands o = describe(call, a.shape(), b.shape(), gemm, gemm && call.node.integer("transA", 0) != 0,
                        gemm && call.node.integer("transB", 0) != 0);
  const Tensor c = (gemm || call.node.domain == "tare") && call.has(2) ? call.input(2) : Tensor();
  const float beta = gemm ? call.node.real("beta", 1.0f) : 1.0f;
  o.product.alpha = gemm ? call.node.real("alpha", 1.0f) : 1.0f;
  if (c.present() && (c.rank() > 2 || !(cpu::broadcast(call, c.shape(), o.output) == o.output)))
    call.fail(fmt::format("C of shape {} does not broadcast to {}", c.shape().text(), o.output.text()));
  Tensor& y = call.output(0, native && !c.present() ? type : DataType::float32, o.output);
  const bool is_bias = c.present() && c.rank() == 1 && c.elements() == o.product.columns && beta == 1.0f &&
                       o.product.alpha == 1.0f && type == DataType::float32 && c.type() == type;
  if (is_bias && multiply(call, o, a, b, c, y)) return;
  if (!multiply(call, o, a, b, {}, y)) {
    call.output(0, DataType::float32, o.output);
    multiply(call, o, widen(device_of(call), a), widen(device_of(call), b), {}, y);
  }
  if (c.present()) add_scaled(call, c, beta, y);
  if (y.type() != type) y = narrow(device_of(call), y, type);
}

void matmul(Call& call) { run_product(call, false); }
void gemm(Call& call) { run_product(call, true); }

}  // namespace

void register_matmul(OperatorTable& table) {
  table.add("Gemm", gemm, cpu::Half::native);
  table.add("MatMul", matmul, cpu::Half::native);
  table.add("tare::MatMul", matmul, cpu::Half::native);  // with a bias: host/plan/biases.hpp
}

}  // namespace tare::cuda
