// Quantizer configs: AIMET's JSON schema, read into plain values. The shipped files are compiled in
// (shipped_configs.cpp is made by CMake from configs/), so that an installed binary needs no path. Odd: AIMET writes
// booleans as the strings "True" and "False"; real booleans are taken as well.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "plan/json_text.hpp"
#include "plan/patterns.hpp"
#include "plan/shipped_configs.hpp"
#include "run/bytes.hpp"
#include "tare/placement.hpp"

namespace tare {
namespace {

using Json = nlohmann::json;

/// One JSON object with its path: every complaint says where.
class Section {
 public:
  Section(const Json& json, std::string file, std::string path)
      : json_(json), file_(std::move(file)), path_(std::move(path)) {
    if (!json.is_object()) fail("", "must be an object");
  }

  void allow(std::initializer_list<std::string_view> keys) const {
    for (const auto& [key, value] : json_.items())
      if (std::find(keys.begin(), keys.end(), key) == keys.end())
        fail(key, fmt::format("is not a key of this section; known: {}", fmt::join(keys, ", ")));
  }
  std::optional<bool> boolean(const std::string& key) const {
    if (!json_.contains(key)) return std::nullopt;
    const Json& value = json_.at(key);
    if (value.is_boolean()) return value.get<bool>();
    if (value == "True" || value == "true") return true;
    if (value == "False" || value == "false") return false;
    fail(key, "must be \"True\" or \"False\"");
  }
  std::optional<double> number(const std::string& key) const {
    if (!json_.contains(key)) return std::nullopt;
    if (!json_.at(key).is_number()) fail(key, "must be a number");
    return json_.at(key).get<double>();
  }
  std::string text(const std::string& key) const {
    if (!json_.contains(key)) return {};
    if (!json_.at(key).is_string()) fail(key, "must be a string");
    return json_.at(key).get<std::string>();
  }
  bool has(const std::string& key) const { return json_.contains(key); }
  Section section(const std::string& key) const {
    if (!json_.contains(key)) fail(key, "is missing");
    return Section(json_.at(key), file_, path_of(key));
  }
  template <class Visit>
  void each(Visit&& visit) const {
    for (const auto& [key, value] : json_.items()) visit(key, Section(value, file_, path_of(key)));
  }
  std::vector<std::string> texts(const std::string& key) const {
    std::vector<std::string> result;
    if (!json_.contains(key)) return result;
    const Json& list = json_.at(key);
    if (!list.is_array()) fail(key, "must be a list of strings");
    for (const Json& item : list) {
      if (!item.is_string()) fail(key, "must be a list of strings");
      result.push_back(item.get<std::string>());
    }
    return result;
  }
  std::vector<Section> sections(const std::string& key) const {
    if (!json_.contains(key)) fail(key, "is missing");
    if (!json_.at(key).is_array()) fail(key, "must be a list of objects");
    std::vector<Section> result;
    for (std::size_t i = 0; i < json_.at(key).size(); ++i)
      result.emplace_back(json_.at(key)[i], file_, fmt::format("{}[{}]", path_of(key), i));
    return result;
  }
  [[noreturn]] void fail(const std::string& key, const std::string& message) const {
    throw Error(ErrorKind::model, fmt::format("config {}: {} {}", file_, key.empty() ? path_ : path_of(key), message));
  }

 private:
  std::string path_of(const std::string& key) const { return path_ == "$" ? "$." + key : path_ + "." + key; }

  const Json& json_;
  std::string file_;
  std::string path_;
};

QuantizerRule read_parameter_rule(const Section& section) {
  section.allow({"is_quantized", "is_symmetric"});
  return {section.boolean("is_quantized"), section.boolean("is_symmetric")};
}

std::map<std::string, QuantizerRule> read_parameter_rules(const Section& section) {
  section.allow({"weight", "bias", "weight_r", "running_mean", "running_var"});
  std::map<std::string, QuantizerRule> rules;
  section.each([&](const std::string& type, const Section& rule) { rules[type] = read_parameter_rule(rule); });
  return rules;
}

void check_kernel_side(const Section& section) {
  section.allow({"bitwidth", "dtype"});
  const double bitwidth = section.number("bitwidth").value_or(0);
  if (bitwidth != 4 && bitwidth != 8 && bitwidth != 16 && bitwidth != 32)
    section.fail("bitwidth", "must be 4, 8, 16 or 32");
  const std::string dtype = section.text("dtype");
  if (dtype != "int" && dtype != "float") section.fail("dtype", "must be \"int\" or \"float\"");
}

/// What mixed precision may choose from: checked like all else, and of no use here, as in AIMET's own simulation.
void check_kernels(const Section& section) {
  if (!section.has("supported_kernels")) return;
  for (const Section& kernel : section.sections("supported_kernels")) {
    kernel.allow({"activation", "param"});
    check_kernel_side(kernel.section("activation"));
    check_kernel_side(kernel.section("param"));
  }
}

OpRule read_op_rule(const Section& section) {
  section.allow({"is_input_quantized", "is_output_quantized", "is_symmetric", "params", "supported_kernels",
                 "per_channel_quantization", "encoding_constraints"});
  OpRule rule;
  rule.input_quantized = section.boolean("is_input_quantized");
  rule.output_quantized = section.boolean("is_output_quantized");
  rule.symmetric = section.boolean("is_symmetric");
  rule.per_channel = section.boolean("per_channel_quantization");
  check_kernels(section);
  if (section.has("params")) rule.parameters = read_parameter_rules(section.section("params"));
  if (section.has("encoding_constraints")) {
    const Section constraints = section.section("encoding_constraints");
    constraints.allow({"min", "max"});
    rule.fixed_min = constraints.number("min");
    rule.fixed_max = constraints.number("max");
    if (!rule.fixed_min) constraints.fail("min", "is missing");
    if (*rule.fixed_min > 0) constraints.fail("min", "is above 0, which every range holds");
    if (rule.fixed_max && *rule.fixed_max < 0) constraints.fail("max", "is below 0, which every range holds");
    if (rule.fixed_max && *rule.fixed_max == *rule.fixed_min) constraints.fail("max", "is no more than min");
  }
  return rule;
}

Config read_config(const Json& json, const std::string& file) {
  const Section root(json, file, "$");
  root.allow({"defaults", "params", "op_type", "supergroups", "supergroup_pass_list", "model_input", "model_output"});
  Config config;
  config.source = file;

  const Section defaults = root.section("defaults");
  defaults.allow({"ops", "params", "strict_symmetric", "unsigned_symmetric", "per_channel_quantization",
                  "supported_kernels", "hw_version"});
  const Section ops = defaults.section("ops");
  ops.allow({"is_input_quantized", "is_output_quantized", "is_symmetric"});
  config.default_op.input_quantized = ops.boolean("is_input_quantized");
  config.default_op.output_quantized = ops.boolean("is_output_quantized");
  config.default_op.symmetric = ops.boolean("is_symmetric");
  config.default_parameter = read_parameter_rule(defaults.section("params"));
  config.strict_symmetric = defaults.boolean("strict_symmetric").value_or(false);
  config.unsigned_symmetric = defaults.boolean("unsigned_symmetric").value_or(false);
  config.per_channel = defaults.boolean("per_channel_quantization").value_or(false);
  check_kernels(defaults);
  config.hw_version = defaults.text("hw_version");
  if (const std::string& version = config.hw_version;
      !version.empty() && (version.size() != 3 || version[0] != 'V' || version.find_first_not_of("0123456789", 1) < 3))
    defaults.fail("hw_version", fmt::format("is '{}'; a version is written as V73", version));

  config.parameters = read_parameter_rules(root.section("params"));
  root.section("op_type").each(
      [&](const std::string& type, const Section& rule) { config.op_types[type] = read_op_rule(rule); });
  for (const Section& group : root.sections("supergroups")) {
    group.allow({"op_list"});
    config.supergroups.push_back(group.texts("op_list"));
    if (config.supergroups.back().size() < 2) group.fail("op_list", "must name at least two op types");
  }
  config.supergroup_passes = root.texts("supergroup_pass_list");
  for (std::size_t i = 0; i < config.supergroup_passes.size(); ++i)
    if (std::find(known_passes.begin(), known_passes.end(), config.supergroup_passes[i]) == known_passes.end())
      root.fail(fmt::format("supergroup_pass_list[{}]", i),
                fmt::format("is '{}', which is not a pass; known: {}", config.supergroup_passes[i],
                            fmt::join(known_passes, ", ")));
  const Section input = root.section("model_input");
  input.allow({"is_input_quantized"});
  config.model_input_quantized = input.boolean("is_input_quantized");
  const Section output = root.section("model_output");
  output.allow({"is_output_quantized"});
  config.model_output_quantized = output.boolean("is_output_quantized");
  return config;
}

Json parse(const std::string& text, const std::string& file) {
  try {
    return parse_json(text, [&](const std::string& path) {
      throw Error(ErrorKind::model, fmt::format("config {}: $.{} stands there twice; keep one", file, path));
    });
  } catch (const Json::exception& error) {
    throw Error(ErrorKind::model, fmt::format("config {} is not valid JSON: {}", file, error.what()));
  }
}

std::optional<Config> read_shipped(const std::string& name) {
  for (const ShippedConfig& config : shipped_configs())
    if (config.name == name) return read_config(parse(std::string(config.text), name), name);
  return std::nullopt;
}

/// The shipped config that says what AIMET's file of this name says: "htp_quantsim_config_v81.json" is "htp_v81". Other
/// names stay: a file of the user's that is missing must not be taken for a shipped one.
std::string name_of_aimet(std::string file) {
  const auto without = [&](std::string_view part) {
    if (const std::size_t at = file.find(part); at != std::string::npos) file.erase(at, part.size());
  };
  const std::string whole = file;
  without(".json");
  if (file == "default_config") return "default_per_tensor";
  if (file == "default_config_per_channel") return "default";
  if (file.find("quantsim_config") == std::string::npos) return whole;
  without("_per_channel_linear");
  without("quantsim_config_");
  without("_quantsim_config");
  return file;
}

}  // namespace

std::vector<std::string> config_names() {
  std::vector<std::string> names;
  for (const ShippedConfig& config : shipped_configs()) names.emplace_back(config.name);
  return names;
}

Config load_config(const std::string& name_or_path) {
  if (const auto shipped = read_shipped(name_or_path)) return *shipped;
  std::string text;
  try {
    text = read_text(name_or_path);
  } catch (const Error& error) {
    if (const auto shipped = read_shipped(name_of_aimet(name_or_path))) return *shipped;
    throw Error(error.kind(), fmt::format("no config '{}': neither one of {} nor a file that can be read: {}",
                                          name_or_path, fmt::join(config_names(), ", "), error.what()));
  }
  return read_config(parse(text, name_or_path), name_or_path);
}

QuantizedType parse_quantized_type(const std::string& name) {
  if (name == "float32") return {NumberFormat::integer, 32, false};
  if (name == "float16") return {NumberFormat::float16, 16, true};
  if (name == "float8e4m3fn") return {NumberFormat::float8e4m3fn, 8, true};
  if (name == "float8e5m2") return {NumberFormat::float8e5m2, 8, true};
  if (name.size() >= 4 && name.size() <= 5 && name.starts_with("int") &&
      std::all_of(name.begin() + 3, name.end(), [](char c) { return c >= '0' && c <= '9'; })) {
    const int bits = std::stoi(name.substr(3));
    if (bits >= 2 && bits <= 16) return {NumberFormat::integer, bits, true};
  }
  throw Error(ErrorKind::usage,
              fmt::format("'{}' is not a number format; use int2 … int16, float16, float8e4m3fn, float8e5m2 "
                          "or float32 (no quantizer)",
                          name));
}

}  // namespace tare
