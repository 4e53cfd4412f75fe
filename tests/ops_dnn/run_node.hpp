// Runs one node on the CPU backend, the way the executor does, and compares with references computed in double.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "tare/backend.hpp"

namespace tare::test {

class NodeRunner {
 public:
  NodeRunner(std::string op_type, std::size_t inputs, std::size_t outputs = 1, std::string domain = {}) {
    node_.name = "node";
    node_.op_type = std::move(op_type);
    node_.domain = std::move(domain);
    node_.opset = node_.domain.empty() ? 19 : 1;
    for (std::size_t i = 0; i < inputs + outputs; ++i) {
      const ValueId id = graph_.add_value({std::string("v") + std::to_string(i), DataType::undefined, {}});
      (i < inputs ? node_.inputs : node_.outputs).push_back(id);
    }
  }
  NodeRunner& set(const std::string& key, Attribute value) {
    node_.attributes[key] = std::move(value);
    return *this;
  }
  NodeRunner& omit_output(std::size_t i) {
    node_.outputs[i] = absent;
    return *this;
  }
  NodeRunner& declare_output(std::size_t i, DataType type) {
    graph_.value(node_.outputs[i]).type = type;
    return *this;
  }
  NodeRunner& options(const CpuOptions& options) {
    options_ = options;
    return *this;
  }
  /// Inputs from `first_constant` on are known at compile time.
  NodeRunner& constants_from(std::size_t first_constant) {
    first_constant_ = first_constant;
    return *this;
  }
  void compile(std::span<const Tensor> inputs) {
    backend_ = make_cpu_backend(options_);
    constants_.assign(inputs.begin(), inputs.end());
    std::vector<const Tensor*> known;
    for (std::size_t i = 0; i < constants_.size(); ++i)
      known.push_back(i >= first_constant_ && constants_[i].present() ? &constants_[i] : nullptr);
    kernel_ = backend_->compile(graph_, node_, known);
  }
  std::vector<Tensor> again(std::vector<Tensor> inputs) {
    std::vector<Tensor> outputs(node_.outputs.size());
    if (!kernel_->accepts_channels_last())
      for (Tensor& input : inputs)
        if (input.present()) input = backend_->to_plain(input);
    kernel_->run(inputs, outputs);
    for (Tensor& output : outputs) {
      if (!output.present()) continue;
      last_layout_ = output.layout();
      output = backend_->download(output);
    }
    return outputs;
  }
  std::vector<Tensor> run(std::vector<Tensor> inputs) {
    compile(inputs);
    return again(std::move(inputs));
  }
  Layout last_layout() const { return last_layout_; }

 private:
  Graph graph_;
  Node node_;
  CpuOptions options_{.threads = 2};
  std::size_t first_constant_ = 1;
  std::unique_ptr<Backend> backend_;
  std::vector<Tensor> constants_;
  std::unique_ptr<Kernel> kernel_;
  Layout last_layout_ = Layout::plain;
};

inline Tensor random_tensor(const Shape& shape, unsigned seed) {
  Tensor tensor = Tensor::host(DataType::float32, shape);
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> value(-1.0f, 1.0f);
  for (float& x : tensor.mutable_span<float>()) x = value(generator);
  return tensor;
}

inline Tensor as_double(const Tensor& tensor) {
  Tensor wide = Tensor::host(DataType::float64, tensor.shape());
  std::copy_n(tensor.data<float>(), tensor.elements(), wide.mutable_data<double>());
  return wide;
}

/// The same values lying [N, spatial…, C].
inline Tensor channels_last(const Tensor& tensor) {
  Tensor result = Tensor::host(tensor.type(), tensor.shape(), Layout::channels_last);
  const std::int64_t channels = tensor.shape()[1];
  const std::int64_t spatial = tensor.shape().elements(2, tensor.rank());
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    const std::int64_t n = i / (channels * spatial);
    const std::int64_t c = i / spatial % channels;
    result.mutable_data<float>()[(n * spatial + i % spatial) * channels + c] = tensor.data<float>()[i];
  }
  return result;
}

inline void expect_close(const Tensor& actual, const Shape& shape, std::span<const double> expected, double tolerance) {
  ASSERT_EQ(actual.shape().text(), shape.text());
  ASSERT_EQ(actual.type(), DataType::float32);
  ASSERT_EQ(static_cast<std::size_t>(actual.elements()), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double value = static_cast<double>(actual.data<float>()[i]);
    ASSERT_LE(std::abs(value - expected[i]), tolerance * (1.0 + std::abs(expected[i])))
        << "at " << i << ": " << value << " for " << expected[i];
  }
}

/// Float32 results that were rounded once: half a unit in the last place, and what float64 sums of values around 1
/// lose.
inline void expect_rounded(const Tensor& actual, std::span<const double> exact) {
  ASSERT_EQ(static_cast<std::size_t>(actual.elements()), exact.size());
  for (std::size_t i = 0; i < exact.size(); ++i)
    ASSERT_LE(std::abs(static_cast<double>(actual.data<float>()[i]) - exact[i]), 0x1p-24 * std::abs(exact[i]) + 1e-13)
        << "at " << i;
}

inline void expect_same_bits(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape().text(), b.shape().text());
  ASSERT_EQ(a.type(), b.type());
  EXPECT_TRUE(std::equal(a.data(), a.data() + a.bytes(), b.data()));
}

}  // namespace tare::test
