// A small model and a config written by the test, and what is placed for them.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "support/model_builder.hpp"
#include "tare/model.hpp"
#include "tare/placement.hpp"

namespace tare::test {

/// Sections of a config in JSON; those not set are what AIMET's default has there.
struct ConfigText {
  std::string ops = R"({"is_output_quantized": "True"})";
  std::string params = R"({"is_quantized": "True", "is_symmetric": "True"})";
  std::string more_defaults;  ///< further keys of `defaults`, each with a comma in front
  std::string params_by_type = "{}";
  std::string op_type = "{}";
  std::string supergroups = "[]";
  std::string passes = "[]";
  std::string model_input = R"({"is_input_quantized": "True"})";
  std::string model_output = "{}";
  std::string text() const;
};

class Scene {
 public:
  explicit Scene(std::int64_t opset = 17) : model(empty_model(opset)) {}

  onnx::GraphProto& graph() { return *model.mutable_graph(); }
  /// Float32, all ones.
  Scene& constant(const std::string& name, const std::vector<std::int64_t>& dims, float value = 1);
  Scene& input(const std::string& name, const std::vector<std::int64_t>& dims);
  Scene& output(const std::string& name, const std::vector<std::int64_t>& dims);
  onnx::NodeProto& node(const std::string& op, const std::vector<std::string>& inputs,
                        const std::vector<std::string>& outputs);

  void place(const ConfigText& config, int activation_bits = 8, int parameter_bits = 8);
  void place_with(const std::string& config, int activation_bits = 8, int parameter_bits = 8);

  /// Names of the tensors whose quantizer is enabled.
  std::set<std::string> enabled() const;
  bool has(const std::string& tensor) const;
  /// Throws when the tensor is no candidate.
  const QuantSite& site(const std::string& tensor) const;
  bool tied(const std::string& a, const std::string& b) const;

  onnx::ModelProto model;
  TemporaryFolder folder;
  Graph loaded;
  std::vector<QuantSite> sites;
};

}  // namespace tare::test
