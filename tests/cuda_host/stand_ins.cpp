// Stands in for what has no host form: the libraries' products and convolutions, which are the CPU backend's here.
#include "device.hpp"
#include "float_element.hpp"
#include "launch.hpp"
#include "products.hpp"
#include "tare/backend.hpp"

namespace tare::cuda {

struct Products::Libraries {
  explicit Libraries(Device& d) : device(d) {}
  void multiply(const Product& p, const void* a, const void* b, void* c) const;
  void convolve(const Convolution& c, const void* from, const void* w, void* to) const;

  Device& device;
  std::unique_ptr<Backend> host = make_cpu_backend({.threads = 2});
};
Products::Products(Device& device) : libraries_(std::make_unique<Libraries>(device)) {}
Products::~Products() = default;

bool Products::takes(DataType) const { return true; }

namespace {

/// Halves as the float32 that the library sums in.
std::vector<float> widened(const void* from, std::int64_t count, DataType type) {
  std::vector<float> result(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) result[static_cast<std::size_t>(i)] = load_float(from, i, type);
  return result;
}

}  // namespace

void Products::multiply(const Product& product, const void* a, const void* b, void* c) {
  launch_on_host(libraries_->device.stream(), [=, this] { libraries_->multiply(product, a, b, c); });
}
void Products::convolve(const Convolution& convolution, const void* from, const void* w, void* to) {
  launch_on_host(libraries_->device.stream(), [=, this] { libraries_->convolve(convolution, from, w, to); });
}

void Products::Libraries::multiply(const Product& p, const void* a, const void* b, void* c) const {
  const auto all = [&](std::int64_t stride, std::int64_t size) { return (p.batch - 1) * stride + size; };
  const std::vector<float> of_a = widened(a, all(p.stride_a, p.rows * p.inner), p.type);
  const std::vector<float> of_b = widened(b, all(p.stride_b, p.inner * p.columns), p.type);
  std::vector<double> sums(static_cast<std::size_t>(p.columns));
  for (std::int64_t matrix = 0; matrix < p.batch; ++matrix) {
    const float* left = of_a.data() + matrix * p.stride_a;
    const float* right = of_b.data() + matrix * p.stride_b;
    for (std::int64_t i = 0; i < p.rows; ++i) {
      std::fill(sums.begin(), sums.end(), 0.0);
      for (std::int64_t k = 0; k < p.inner; ++k) {
        const double factor = static_cast<double>(p.transpose_a ? left[k * p.rows + i] : left[i * p.inner + k]);
        for (std::int64_t j = 0; j < p.columns; ++j)
          sums[static_cast<std::size_t>(j)] +=
              factor * static_cast<double>(p.transpose_b ? right[j * p.inner + k] : right[k * p.columns + j]);
      }
      for (std::int64_t j = 0; j < p.columns; ++j)
        store_float(c, matrix * p.stride_c + i * p.columns + j,
                    static_cast<float>(static_cast<double>(p.alpha) * sums[static_cast<std::size_t>(j)]), p.result);
    }
  }
}

void Products::Libraries::convolve(const Convolution& c, const void* from, const void* w, void* to) const {
  const auto view = [&](const Shape& shape, const void* data) {
    return Tensor::of<float>(shape, widened(data, shape.elements(), c.type));
  };
  const auto list = [](const Shape& shape) { return std::vector<std::int64_t>(shape.begin(), shape.end()); };
  Graph graph;
  Node node;
  node.name = "convolution";
  node.op_type = c.transposed ? "ConvTranspose" : "Conv";
  node.opset = 11;
  node.attributes["group"] = c.groups;
  node.attributes["strides"] = list(c.strides);
  node.attributes["dilations"] = list(c.dilations);
  std::vector<std::int64_t> pads = list(c.pads);
  pads.insert(pads.end(), c.pads.begin(), c.pads.end());
  node.attributes["pads"] = pads;
  node.inputs = {graph.add_value({"x", DataType::float32, {}}), graph.add_value({"w", DataType::float32, {}})};
  node.outputs = {graph.add_value({"y", DataType::float32, {}})};
  std::vector<Tensor> inputs{view(c.transposed ? c.y : c.x, from), view(c.w, w)};
  std::vector<Tensor> outputs(1);
  const std::vector<const Tensor*> unknown(2, nullptr);
  host->compile(graph, node, unknown)->run(inputs, outputs);
  const Tensor result = host->to_plain(outputs[0]);
  const Shape& expected = c.transposed ? c.x : c.y;
  if (!(result.shape() == expected))
    throw Error(ErrorKind::internal, "convolution gives " + result.shape().text() + ", not " + expected.text());
  for (std::int64_t i = 0; i < result.elements(); ++i) store_float(to, i, result.data<float>()[i], c.type);
}

}  // namespace tare::cuda
