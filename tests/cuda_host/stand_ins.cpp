// Stands in for what has no host form: the libraries' products and convolutions (the CPU backend's), and the kernels
// written for a GPU alone (observe, quantize), element by element with the same formulas.
#include "device.hpp"
#include "float_element.hpp"
#include "launch.hpp"
#include "observe.hpp"
#include "products.hpp"
#include "quantize.hpp"
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

namespace {

void quantize_elements(const void* input, void* output, DataType type, const GridMap& map) {
  for (std::int64_t i = 0; i < map.elements; ++i) {
    std::int64_t index = 0;
    for (const GridDimension& d : map.dimensions) index += i / map.run / d.runs_inside % d.size / d.block * d.stride;
    const Grid& grid = map.grids != nullptr ? map.grids[index] : map.uniform;
    const auto apply = [&](float x) {
      switch (map.operation) {
        case Operation::half_even:
        case Operation::half_even_by_product:
          return tare::quantize_dequantize(x, grid.scale, grid.zero_point, grid.low, grid.high);
        case Operation::half_up:
          return quantize_dequantize_half_up(x, grid.scale, grid.offset, grid.minimum, grid.maximum);
        case Operation::float16: return half_to_float(float_to_half(x));
        case Operation::float8e4m3fn: return round_to_float8e4m3fn(x / grid.scale) * grid.scale;
        case Operation::float8e5m2: return round_to_float8e5m2(x / grid.scale) * grid.scale;
      }
      return x;
    };
    const auto* halves = static_cast<const std::uint16_t*>(input);
    auto* out = static_cast<std::uint16_t*>(output);
    if (type == DataType::float32)
      static_cast<float*>(output)[i] = apply(static_cast<const float*>(input)[i]);
    else if (type == DataType::float16)
      out[i] = float_to_half(apply(half_to_float(halves[i])));
    else
      out[i] = float_to_bfloat(apply(bfloat_to_float(halves[i])));
  }
}

}  // namespace

void quantize_dequantize(const void* input, void* output, DataType type, const GridMap& map, StreamView stream) {
  launch_on_host(stream, [=] { quantize_elements(input, output, type, map); });
}

std::vector<Encoding> find_encodings(std::span<const SearchRequest> requests, const SearchOptions& options, Stream,
                                     const Allocator&) {
  return tare::find_encodings(requests, options, 2);
}

void TensorList::add(const void* data, std::uint32_t elements, std::uint32_t site, DataType type) {
  tensors[count++] = {data, elements, site, 0, type};
}
std::uint32_t most_observer_blocks() { return 1; }

namespace {

void observe_elements(const TensorList& list, Site* sites) {
  for (std::uint32_t t = 0; t < list.count; ++t) {
    const ListedTensor& tensor = list.tensors[t];
    Site& site = sites[tensor.site];
    site.elements += tensor.elements;
    for (std::uint32_t i = 0; i < tensor.elements; ++i) {
      std::uint32_t bits = 0;
      if (tensor.type == DataType::float32)
        bits = static_cast<const std::uint32_t*>(tensor.data)[i];
      else if (tensor.type == DataType::float16)
        bits = bits_of(half_to_float(static_cast<const std::uint16_t*>(tensor.data)[i]));
      else
        bits = std::uint32_t{static_cast<const std::uint16_t*>(tensor.data)[i]} << 16;
      const std::uint32_t magnitude = bits & 0x7fffffffu;
      if (magnitude > 0x7f800000u) {
        ++site.exact.nan_count;
        continue;
      }
      if (magnitude == 0x7f800000u) {
        ++(bits >> 31 != 0 ? site.exact.negative_infinity_count : site.exact.positive_infinity_count);
        continue;
      }
      const std::int32_t key = magnitude == 0 ? 0 : ascending_key(bits);
      merge_extreme(site.exact.low_rank, site.exact.low_count, low_rank_of(key), 1);
      merge_extreme(site.exact.high_rank, site.exact.high_count, high_rank_of(key), 1);
      if (magnitude == 0)
        ++site.exact.zero_count;
      else
        ++site.bins[histogram_bin(bits)];
    }
  }
}

}  // namespace

void observe(const TensorList& list, Site* sites, Exact*, unsigned*, StreamView stream) {
  launch_on_host(stream, [=] { observe_elements(list, sites); });
}

}  // namespace tare::cuda
