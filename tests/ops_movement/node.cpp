#include "ops_movement/node.hpp"

#include <cstring>

namespace tare::test {

std::vector<Tensor> run(const NodeCase& node_case, std::vector<Tensor> inputs, int threads) {
  Graph graph;
  Node node;
  node.name = "node";
  node.op_type = node_case.op_type;
  node.opset = node_case.opset;
  node.attributes = node_case.attributes;
  for (const Tensor& input : inputs) node.inputs.push_back(input.present() ? graph.add_value({}) : absent);
  for (std::size_t i = 0; i < node_case.outputs; ++i) node.outputs.push_back(graph.add_value({}));
  const auto backend = make_cpu_backend({.threads = threads});
  const std::vector<const Tensor*> constants(inputs.size(), nullptr);
  const auto kernel = backend->compile(graph, node, constants);
  if (!kernel->accepts_channels_last())
    for (Tensor& input : inputs)
      if (input.present()) input = backend->to_plain(input);
  std::vector<Tensor> outputs(node.outputs.size());
  kernel->run(inputs, outputs);
  return outputs;
}

Tensor run_plain(const NodeCase& node, std::vector<Tensor> inputs, int threads) {
  return plain(run(node, std::move(inputs), threads)[0]);
}

namespace {

/// Copies between the layouts, element by element.
Tensor converted(const Tensor& tensor, Layout layout) {
  if (tensor.layout() == layout) return tensor;
  Tensor result = Tensor::host(tensor.type(), tensor.shape(), layout);
  const Shape& shape = tensor.shape();
  const std::int64_t spatial = shape.elements(2, shape.rank());
  const std::size_t size = size_of(tensor.type());
  for (std::int64_t n = 0; n < shape[0]; ++n)
    for (std::int64_t c = 0; c < shape[1]; ++c)
      for (std::int64_t s = 0; s < spatial; ++s) {
        const auto first = static_cast<std::size_t>((n * shape[1] + c) * spatial + s) * size;
        const auto last = static_cast<std::size_t>((n * spatial + s) * shape[1] + c) * size;
        const bool to_plain = layout == Layout::plain;
        std::memcpy(result.mutable_data() + (to_plain ? first : last), tensor.data() + (to_plain ? last : first), size);
      }
  return result;
}

}  // namespace

Tensor channels_last(const Tensor& tensor) { return converted(tensor, Layout::channels_last); }
Tensor plain(const Tensor& tensor) { return converted(tensor, Layout::plain); }

Shape random_shape(std::mt19937& random, std::size_t rank, std::int64_t highest) {
  Shape shape;
  for (std::size_t d = 0; d < rank; ++d) shape.push_back(1 + static_cast<std::int64_t>(random() % highest));
  return shape;
}

}  // namespace tare::test
