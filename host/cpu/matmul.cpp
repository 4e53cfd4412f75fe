// MatMul and Gemm. float32 runs in the library: B is packed once when it is constant, programs are kept by shape. Other
// types take plain loops.
// A B without batch dimensions makes one tall product of all of A's; equal batches go to the library as one batch; only
// batches that broadcast against each other are run one product at a time.
#include <fmt/format.h>

#include "cpu/dnnl_shim.hpp"
#include "cpu/elementwise.hpp"
#include "cpu/post_ops.hpp"

namespace tare::cpu {
namespace {

struct Product {
  Shape output;   ///< all dimensions, as ONNX wants them
  Shape batch;    ///< of the output
  Shape batch_a;  ///< aligned with `batch`, 1 where broadcast
  Shape batch_b;
  std::int64_t rows;
  std::int64_t inner;
  std::int64_t columns;
  bool transpose_a = false;
  bool transpose_b = false;
};

/// Linear index into an operand whose batch dimensions broadcast, for a linear index into the output's.
std::int64_t broadcast_index(std::int64_t index, const Shape& batch, const Shape& operand) {
  std::int64_t result = 0;
  std::int64_t stride = 1;
  for (std::size_t i = batch.rank(); i-- > 0;) {
    if (operand[i] != 1) result += index % batch[i] * stride;
    index /= batch[i];
    stride *= operand[i];
  }
  return result;
}

/// float32 sums in float64, integers modulo 2^32 or 2^64, all others in their own type.
template <class T>
void direct(const Call& call, const Product& p, const Tensor& a, const Tensor& b, Tensor& y) {
  call.device.parallel(
      p.batch.elements() * p.rows, std::max<std::int64_t>(1, 8192 / (p.inner * p.columns + 1)),
      [&](std::int64_t begin, std::int64_t end) {
        using Sum = std::conditional_t<std::is_same_v<T, float>, double, Accumulator<T>>;
        const auto sums = std::make_unique<Sum[]>(static_cast<std::size_t>(p.columns));
        for (std::int64_t i = begin; i < end; ++i) {
          const std::int64_t image = i / p.rows;
          const std::int64_t row = i % p.rows;
          const T* left = a.data<T>() + broadcast_index(image, p.batch, p.batch_a) * p.rows * p.inner;
          const T* right = b.data<T>() + broadcast_index(image, p.batch, p.batch_b) * p.inner * p.columns;
          std::fill_n(sums.get(), p.columns, Sum(0));
          for (std::int64_t k = 0; k < p.inner; ++k) {
            const auto factor = static_cast<Sum>(p.transpose_a ? left[k * p.rows + row] : left[row * p.inner + k]);
            const T* line = p.transpose_b ? right + k : right + k * p.columns;
            const std::int64_t step = p.transpose_b ? p.inner : 1;
            for (std::int64_t j = 0; j < p.columns; ++j) {
              Sum& sum = sums[static_cast<std::size_t>(j)];
              sum = static_cast<Sum>(sum + static_cast<Sum>(factor * static_cast<Sum>(line[j * step])));
            }
          }
          T* out = y.mutable_data<T>() + i * p.columns;
          std::transform(sums.get(), sums.get() + p.columns, out, [](Sum sum) { return static_cast<T>(sum); });
        }
      });
}

/// y = alpha y + beta c, c broadcast to y (two dimensions, or c has one). Without `scale` y is overwritten by beta c.
template <class T>
void add_scaled(Tensor& y, const Tensor& c, float alpha, float beta, bool scale) {
  if (y.elements() == 0) return;
  const std::int64_t columns = y.shape().back();
  const std::int64_t rows = y.elements() / columns;
  const Shape& shape = c.shape();
  const std::int64_t column_step = c.present() && shape.rank() > 0 && shape.back() != 1 ? 1 : 0;
  const std::int64_t row_step = c.present() && shape.rank() == 2 && shape[0] != 1 ? shape[1] : 0;
  const T a = static_cast<T>(alpha);
  const T b = static_cast<T>(beta);
  T* out = y.mutable_data<T>();
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < columns; ++j, ++out) {
      const T product = scale ? static_cast<T>(a * *out) : T(0);
      *out = c.present() ? static_cast<T>(product + static_cast<T>(b * c.data<T>()[i * row_step + j * column_step]))
                         : product;
    }
}

struct Prepared {
  Product product;
  dnn::Program program;
  dnn::Launch launch;
  const void* packed = nullptr;
  std::int64_t launches = 1;  ///< more than 1: batches that broadcast
  bool as_bias = false;       ///< C goes in as the library's bias
};

class MatmulKernel final : public Kernel {
 public:
  MatmulKernel(const Compile& compile, bool gemm)
      : node_(compile.node), device_(compile.device), gemm_(gemm), post_ops_(parse_post_ops(compile.node)) {
    if (gemm_) {
      transpose_a_ = node_.integer("transA", 0) != 0;
      transpose_b_ = node_.integer("transB", 0) != 0;
      alpha_ = node_.real("alpha", 1.0f);
      beta_ = node_.real("beta", 1.0f);
    }
    if (compile.constants.size() > 1 && compile.constants[1] != nullptr) constant_.emplace(*compile.constants[1]);
  }

  void run(std::span<Tensor> inputs, std::span<Tensor> outputs) override {
    const Call call{node_, device_, inputs, outputs};
    if (!call.has(0) || !(constant_ || call.has(1))) call.fail("an operand is missing");
    const Tensor& a = inputs[0];
    const Tensor& b = constant_ ? constant_->tensor() : inputs[1];
    const Tensor c = (gemm_ || node_.domain == "tare") && call.has(2) ? inputs[2] : Tensor();
    if (a.type() != b.type() || (c.present() && c.type() != a.type()))
      call.fail(fmt::format("operands of types {} and {}", name_of(a.type()), name_of(b.type())));

    auto& key = cache_.key();
    cache_.push(a.shape());
    cache_.push(b.shape());
    cache_.push(c.shape());
    key.push_back(c.present());
    Prepared* prepared = a.type() == DataType::float32 ? cache_.find() : nullptr;
    if (prepared == nullptr) {
      const Product product = describe(call, a.shape(), b.shape());
      check_broadcast(call, c, product.output);
      if (device_.wide_sums() || a.type() != DataType::float32 || product.output.elements() == 0 || product.inner == 0)
        return run_direct(call, product, a, b, c);
      auto made = prepare(product, c);
      if (!made) return run_direct(call, product, a, b, c);
      prepared = &cache_.insert(std::move(*made));
    }
    outputs[0] = run_library(call, *prepared, a, b, c);
  }

 private:
  bool accumulates(const Tensor& c, bool as_bias) const { return c.present() && !as_bias && alpha_ == 1.0f; }
  bool scales() const { return alpha_ != 1.0f; }

  void check_broadcast(const Call& call, const Tensor& c, const Shape& output) const {
    if (c.present() && (c.rank() > 2 || !(broadcast(call, c.shape(), output) == output)))
      call.fail(fmt::format("C of shape {} does not broadcast to {}", c.shape().text(), output.text()));
  }

  Product describe(const Call& call, Shape a, Shape b) const {
    const auto refuse = [&]() {
      call.fail(fmt::format("operands of shapes {} and {} do not fit", inputs_text(call, 0), inputs_text(call, 1)));
    };
    if (gemm_ ? a.rank() != 2 || b.rank() != 2 : a.empty() || b.empty()) refuse();
    Product p;
    const bool vector_a = a.rank() == 1;
    const bool vector_b = b.rank() == 1;
    if (vector_a) a.insert(0, 1);
    if (vector_b) b.push_back(1);
    p.transpose_a = transpose_a_;
    p.transpose_b = transpose_b_;
    const std::size_t ra = a.rank();
    const std::size_t rb = b.rank();
    p.rows = a[ra - (transpose_a_ ? 1 : 2)];
    p.inner = a[ra - (transpose_a_ ? 2 : 1)];
    p.columns = b[rb - (transpose_b_ ? 2 : 1)];
    if (p.inner != b[rb - (transpose_b_ ? 1 : 2)]) refuse();
    p.batch_a = Shape(a.begin(), a.end() - 2);
    p.batch_b = Shape(b.begin(), b.end() - 2);
    p.batch = broadcast(call, p.batch_a, p.batch_b);
    while (p.batch_a.rank() < p.batch.rank()) p.batch_a.insert(0, 1);
    while (p.batch_b.rank() < p.batch.rank()) p.batch_b.insert(0, 1);
    p.output = p.batch;
    if (!vector_a) p.output.push_back(p.rows);
    if (!vector_b) p.output.push_back(p.columns);
    return p;
  }

  std::string inputs_text(const Call& call, std::size_t i) const {
    return (i == 1 && constant_ ? constant_->tensor() : call.inputs[i]).shape().text();
  }

  void run_direct(const Call& call, const Product& p, const Tensor& a, const Tensor& b, const Tensor& c) {
    Tensor y = device_.allocate(a.type(), p.output);
    dispatch(a.type(), call, [&]<class T>() {
      direct<T>(call, p, a, b, y);
      if (c.present() || scales()) add_scaled<T>(y, c, alpha_, beta_, true);
    });
    apply_post_ops(call, post_ops_, y);
    call.outputs[0] = std::move(y);
  }

  /// The library sums a row in another order when there are more rows: reproducible runs see one sample at a time.
  static Product one_sample_a_launch(Product p) {
    if (p.batch.empty()) {
      p.batch = p.batch_a = {p.rows};
      p.batch_b = {1};
      p.rows = 1;
    }
    return p;
  }

  std::optional<Prepared> prepare(const Product& whole, const Tensor& c) {
    const bool split = device_.reproducible() && !transpose_a_;
    const Product p = split ? one_sample_a_launch(whole) : whole;
    const bool as_bias = c.present() && alpha_ == 1.0f && beta_ == 1.0f && c.shape().rank() > 0 &&
                         c.shape().back() == p.columns && c.elements() == p.columns;
    const std::int64_t batch = p.batch.elements();
    std::int64_t rows = p.rows;
    std::int64_t matrices = 1;
    std::int64_t launches = 1;
    if (!split && p.batch_b.elements() == 1 && !p.transpose_a)
      rows *= batch;
    else if (!split && p.batch_a == p.batch_b)
      matrices = batch;
    else
      launches = batch;

    const auto matrix = [&](std::int64_t r, std::int64_t k) {
      return matrices > 1 ? Shape{matrices, r, k} : Shape{r, k};
    };
    constexpr int swapped[] = {1, 0};
    const dnn::Desc source =
        p.transpose_a ? dnn::permuted({rows, p.inner}, swapped) : dnn::plain(matrix(rows, p.inner));
    const dnn::Desc given =
        p.transpose_b ? dnn::permuted({p.inner, p.columns}, swapped) : dnn::plain(matrix(p.inner, p.columns));
    const dnn::Desc destination = dnn::plain(matrix(rows, p.columns));
    const Shape of_bias = matrices > 1 ? Shape{1, 1, p.columns} : Shape{1, p.columns};
    const dnn::Desc bias = as_bias ? dnn::plain(of_bias) : dnn::none();
    const std::span<const PostOp> post_ops = scales() ? std::span<const PostOp>() : std::span<const PostOp>(post_ops_);
    const bool pack = constant_ && (launches == 1 || p.batch_b.elements() == 1);
    auto program = dnn::matmul(device_, source, pack ? dnn::any(matrix(p.inner, p.columns)) : given, bias, destination,
                               post_ops, accumulates(c, as_bias));
    if (!program) return std::nullopt;
    dnn::Launch launch(*program);
    Prepared prepared{p, std::move(*program), std::move(launch), nullptr, launches, as_bias};
    if (pack) prepared.packed = constant_->in(device_, given, prepared.program.weights);
    return prepared;
  }

  Tensor run_library(const Call& call, Prepared& prepared, const Tensor& a, const Tensor& b, const Tensor& c) {
    const bool as_bias = prepared.as_bias;
    const Product& p = prepared.product;
    Tensor y = device_.allocate(DataType::float32, p.output);
    if (accumulates(c, as_bias)) add_scaled<float>(y, c, 1.0f, beta_, false);
    const bool single = prepared.launches == 1;
    for (std::int64_t i = 0; i < prepared.launches; ++i) {
      const std::int64_t left = single ? 0 : broadcast_index(i, p.batch, p.batch_a) * p.rows * p.inner;
      const std::int64_t right = single ? 0 : broadcast_index(i, p.batch, p.batch_b) * p.inner * p.columns;
      const std::int64_t out = i * p.rows * p.columns;
      std::size_t slot = 0;
      prepared.launch.set(slot++, a.data<float>() + left);
      prepared.launch.set(slot++, prepared.packed != nullptr ? prepared.packed : b.data<float>() + right);
      if (as_bias) prepared.launch.set(slot++, c.data());
      prepared.launch.set(slot, y.data<float>() + out);
      prepared.launch.run(device_);
    }
    if (scales()) {
      add_scaled<float>(y, c, alpha_, beta_, true);
      apply_post_ops(call, post_ops_, y);
    }
    return y;
  }

  const Node& node_;
  Device& device_;
  bool gemm_;
  std::vector<PostOp> post_ops_;
  bool transpose_a_ = false;
  bool transpose_b_ = false;
  float alpha_ = 1.0f;
  float beta_ = 1.0f;
  std::optional<dnn::PackedConstant> constant_;
  dnn::ShapeCache<Prepared> cache_;
};

}  // namespace

std::unique_ptr<Kernel> make_matmul(const Compile& compile) { return std::make_unique<MatmulKernel>(compile, false); }
std::unique_ptr<Kernel> make_gemm(const Compile& compile) { return std::make_unique<MatmulKernel>(compile, true); }

void register_matmul(OperatorTable& table) {
  table.add("MatMul", Operator{.factory = make_matmul});
  table.add("Gemm", Operator{.factory = make_gemm});
}

}  // namespace tare::cpu
