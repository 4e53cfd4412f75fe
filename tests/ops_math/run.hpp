// Runs one operator on the CPU backend, and builds and compares its tensors.
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "tare/backend.hpp"

namespace tare::test {

struct Operation {
  std::string type;
  std::int64_t opset = 17;
  std::map<std::string, Attribute, std::less<>> attributes = {};
  std::size_t outputs = 1;
  CpuOptions options = {.threads = 2};
};

/// The outputs as the kernel gives them (layout included).
std::vector<Tensor> run(const Operation& operation, std::vector<Tensor> inputs);
/// The first output, in plain layout.
Tensor run_one(const Operation& operation, std::vector<Tensor> inputs);

Tensor floats(const Shape& shape, const std::vector<float>& values);
Tensor integers(const std::vector<std::int64_t>& values);
/// Normal numbers of a fixed seed.
Tensor random_floats(const Shape& shape, unsigned seed = 1, float mean = 0.0f, float deviation = 1.0f);
/// The same tensor with its elements in channels_last order.
Tensor to_channels_last(const Tensor& plain);

std::vector<double> values_of(const Tensor& tensor);
/// Every element within absolute + relative * |expected|; NaN equals NaN.
void expect_near(const Tensor& actual, const Shape& shape, const std::vector<double>& expected, double relative = 1e-5,
                 double absolute = 1e-6);
void expect_same_bits(const Tensor& a, const Tensor& b);

/// Calls body(index) for every multi-index of a shape, last dimension fastest.
void for_each_index(const Shape& shape, const std::function<void(const Shape& index)>& body);
std::int64_t offset_of(const Shape& shape, const Shape& index);

}  // namespace tare::test
