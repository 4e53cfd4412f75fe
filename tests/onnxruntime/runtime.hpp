// ONNX Runtime beside us: a model and its inputs in, every tensor that it computes out. Graph optimizations are off.
#pragma once

#include <map>
#include <string>

#include "support/model_builder.hpp"
#include "tare/tensor.hpp"

namespace tare::test {

using NamedTensors = std::map<std::string, Tensor>;

/// What ONNX Runtime makes of the outputs of `model`. Throws std::runtime_error with its message when it refuses.
NamedTensors run_in_onnxruntime(const onnx::ModelProto& model, const NamedTensors& inputs);

}  // namespace tare::test
