#include "run.hpp"

#include <gtest/gtest.h>

namespace tare::test {

std::vector<Tensor> run(const Operation& operation, std::vector<Tensor> inputs) {
  Graph graph;
  Node node;
  node.name = "n";
  node.op_type = operation.type;
  node.opset = operation.opset;
  node.attributes = operation.attributes;
  for (const Tensor& input : inputs)
    node.inputs.push_back(input.present() ? graph.add_value(Value{"in", input.type(), input.shape()}) : absent);
  for (std::size_t i = 0; i < operation.outputs; ++i) node.outputs.push_back(graph.add_value(Value{"out", {}, {}}));
  const auto backend = make_cpu_backend(operation.options);
  const std::string reason = backend->unsupported(graph, node);
  if (!reason.empty()) throw Error(ErrorKind::unsupported, reason);
  const std::vector<const Tensor*> constants(inputs.size(), nullptr);
  const auto kernel = backend->compile(graph, node, constants);
  if (!kernel->accepts_channels_last())
    for (Tensor& input : inputs)
      if (input.present()) input = backend->to_plain(input);
  std::vector<Tensor> outputs(operation.outputs);
  kernel->run(inputs, outputs);
  return outputs;
}

Tensor run_one(const Operation& operation, std::vector<Tensor> inputs) {
  return make_cpu_backend()->to_plain(run(operation, std::move(inputs)).at(0));
}

Tensor floats(const Shape& shape, const std::vector<float>& values) {
  EXPECT_EQ(shape.elements(), static_cast<std::int64_t>(values.size()));
  return Tensor::of<float>(shape, values);
}

Tensor integers(const std::vector<std::int64_t>& values) {
  return Tensor::of<std::int64_t>({static_cast<std::int64_t>(values.size())}, values);
}

Tensor random_floats(const Shape& shape, unsigned seed, float mean, float deviation) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> distribution(mean, deviation);
  Tensor tensor = Tensor::host(DataType::float32, shape);
  for (float& x : tensor.mutable_span<float>()) x = distribution(engine);
  return tensor;
}

Tensor to_channels_last(const Tensor& plain) {
  Tensor moved = Tensor::host(plain.type(), plain.shape(), Layout::channels_last);
  const std::int64_t channels = plain.shape()[1];
  const std::int64_t spatial = plain.shape().elements(2, plain.rank());
  const std::size_t size = size_of(plain.type());
  for (std::int64_t n = 0; n < plain.shape()[0]; ++n)
    for (std::int64_t c = 0; c < channels; ++c)
      for (std::int64_t s = 0; s < spatial; ++s)
        std::memcpy(moved.mutable_data() + static_cast<std::size_t>((n * spatial + s) * channels + c) * size,
                    plain.data() + static_cast<std::size_t>((n * channels + c) * spatial + s) * size, size);
  return moved;
}

std::vector<double> values_of(const Tensor& tensor) {
  std::vector<double> values;
  const auto copy = [&]<class T>() {
    for (const T x : tensor.span<T>()) values.push_back(static_cast<double>(x));
  };
  switch (tensor.type()) {
    case DataType::float32: copy.operator()<float>(); break;
    case DataType::float64: copy.operator()<double>(); break;
    case DataType::int8: copy.operator()<std::int8_t>(); break;
    case DataType::uint8: copy.operator()<std::uint8_t>(); break;
    case DataType::boolean: copy.operator()<bool>(); break;
    case DataType::int32: copy.operator()<std::int32_t>(); break;
    case DataType::int64: copy.operator()<std::int64_t>(); break;
    default: ADD_FAILURE() << "unexpected type " << name_of(tensor.type());
  }
  return values;
}

void expect_near(const Tensor& actual, const Shape& shape, const std::vector<double>& expected, double relative,
                 double absolute) {
  ASSERT_EQ(actual.shape().text(), shape.text());
  const std::vector<double> values = values_of(actual);
  ASSERT_EQ(values.size(), expected.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(expected[i])) {
      EXPECT_TRUE(std::isnan(values[i])) << "element " << i;
    } else if (std::isinf(expected[i])) {
      EXPECT_EQ(values[i], expected[i]) << "element " << i;
    } else {
      ASSERT_NEAR(values[i], expected[i], absolute + relative * std::abs(expected[i])) << "element " << i;
    }
  }
}

void expect_same_bits(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape().text(), b.shape().text());
  ASSERT_EQ(a.type(), b.type());
  ASSERT_EQ(a.layout(), b.layout());
  EXPECT_TRUE(a.bytes() == 0 || std::memcmp(a.data(), b.data(), a.bytes()) == 0);
}

void for_each_index(const Shape& shape, const std::function<void(const Shape&)>& body) {
  Shape index(shape.rank(), 0);
  for (std::int64_t i = 0; i < shape.elements(); ++i) {
    body(index);
    for (std::size_t d = shape.rank(); d-- > 0;) {
      if (++index[d] < shape[d]) break;
      index[d] = 0;
    }
  }
}

std::int64_t offset_of(const Shape& shape, const Shape& index) {
  std::int64_t offset = 0;
  for (std::size_t d = 0; d < shape.rank(); ++d) offset = offset * shape[d] + index[d];
  return offset;
}

}  // namespace tare::test
