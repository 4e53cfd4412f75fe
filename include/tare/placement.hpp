// Which tensors get a quantizer, of which kind, and who shares a range. The rules are AIMET's (docs/config.md): a
// config file switches quantizers on and off by op type, parameter type and fused group; the structure of the graph
// does the rest.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tare/graph.hpp"
#include "tare/quantizer.hpp"

namespace tare {

/// Settings of one kind of quantizer; none: not said here, an earlier rule stands.
struct QuantizerRule {
  std::optional<bool> quantized;
  std::optional<bool> symmetric;
};

/// What a config says of one op type.
struct OpRule {
  std::optional<bool> input_quantized;
  std::optional<bool> output_quantized;
  std::optional<bool> symmetric;
  std::optional<bool> per_channel;
  std::map<std::string, QuantizerRule>
      parameters;                   ///< by parameter type: weight, bias, weight_r, running_mean, running_var
  std::optional<double> fixed_min;  ///< encoding_constraints
  std::optional<double> fixed_max;
};

/// A quantization config file, parsed (AIMET's JSON schema; docs/config.md explains every key).
struct Config {
  std::string source;  ///< the name or path it was loaded by, for messages
  OpRule default_op;
  QuantizerRule default_parameter;
  bool strict_symmetric = false;
  bool unsigned_symmetric = false;
  bool per_channel = false;
  std::string hw_version;
  std::map<std::string, QuantizerRule> parameters;  ///< by parameter type
  std::map<std::string, OpRule> op_types;
  std::vector<std::vector<std::string>> supergroups;
  std::vector<std::string> supergroup_passes;
  std::optional<bool> model_input_quantized;
  std::optional<bool> model_output_quantized;
};

/// A shipped config by name ("default", "default_per_tensor", …) or a file. Throws Error(model) with the JSON path of
/// what is wrong: unknown keys, wrong types, missing sections.
Config load_config(const std::string& name_or_path);
/// The names that load_config knows.
std::vector<std::string> config_names();

/// Number formats of a run: "int2" … "int16", "float16", "float8e4m3fn", "float8e5m2", "float32" (no quantizer).
struct QuantizedType {
  NumberFormat format = NumberFormat::integer;
  int bitwidth = 8;
  bool quantized = true;
};
QuantizedType parse_quantized_type(const std::string& name);

struct PlacementOptions {
  QuantizedType parameter;
  QuantizedType activation;
};

/// All candidate sites of the graph in the order of their tensors, disabled ones included (with the reason). Throws
/// Error(model) naming both keys when two rules of one stage disagree about a tensor.
std::vector<QuantSite> place(const Graph& graph, const Config& config, const PlacementOptions& options = {});

}  // namespace tare
