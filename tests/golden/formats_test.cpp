// Encodings files of eight real models in every version, against what AIMET wrote on the same data: sections, keys,
// types, counts and tensors, and the values of what has no quantizer (derived encodings, 32-bit biases).
// formats.json of a model lists, by run and version, AIMET's entries by their form; numbers stand there as "integer"
// and "number", and a run with the entries of an earlier one names that. AIMET's files are all there: five runs
// in 1.0.0, one of them in the other versions too.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "plan/ops.hpp"
#include "support/golden.hpp"
#include "support/model_builder.hpp"
#include "tare/export.hpp"
#include "tare/session.hpp"

namespace tare {
namespace {

using nlohmann::json;

json form(const json& value) {
  if (value.is_object()) {
    json result = json::object();
    for (const auto& [key, member] : value.items())
      if (key != "name") result[key] = form(member);
    return result;
  }
  if (value.is_array()) {
    json result = json::array({value.size()});
    if (!value.empty()) result.push_back(form(value[0]));
    return result;
  }
  if (!value.is_number()) return value;
  return value.is_number_integer() ? "integer" : "number";
}

/// Every tensor of a file: "section form", by section and name.
std::map<std::string, std::string> forms(const json& file) {
  std::map<std::string, std::string> result;
  for (const std::string section : {"activation_encodings", "param_encodings", "encodings"}) {
    if (!file.contains(section)) continue;
    const auto add = [&](const std::string& name, const json& entry) {
      result[section + " " + name] = section + " " + form(entry).dump();
    };
    if (file[section].is_object())
      for (const auto& [name, list] : file[section].items()) add(name, list);
    else
      for (const json& entry : file[section]) add(entry["name"], entry);
  }
  return result;
}

double first_of(const json& value) { return value.is_array() ? first_of(value[0]) : value.get<double>(); }
double last_of(const json& value) { return value.is_array() ? last_of(value.back()) : value.get<double>(); }

class Formats : public testing::TestWithParam<test::GoldenModel> {
 protected:
  static constexpr std::size_t every_batch = ~std::size_t{0};

  static EncodingSet calibrate(Session& session, const test::GoldenRun& run, std::size_t batches) {
    CalibrationOptions options;
    options.config = run.config;
    options.search.scheme = run.scheme;
    options.types.activation.bitwidth = run.activation_bits;
    Calibration calibration = session.start_calibration(options);
    for (const Batch& batch : test::golden_batches(GetParam(), session.graph()))
      if (batches > 0) {
        calibration.add(batch.inputs, batch.samples);
        --batches;
      }
    return calibration.finish().encodings;
  }
  static json write(const EncodingSet& found, const test::GoldenRun& run, EncodingVersion version, const Graph& graph) {
    EncodingSet listed = found;
    if (version == EncodingVersion::v2_0_0) add_derived_encodings(listed, graph);
    ExportInfo info;
    info.scheme = run.scheme;
    info.activation_bitwidth = run.activation_bits;
    info.graph = &graph;
    return json::parse(encodings_to_json(listed, version, info));
  }
  static void compare_entries(const json& ours, const json& entries) {
    std::map<std::string, std::string> expected;
    for (const auto& [entry_form, tensors] : entries.items())
      for (const json& tensor : tensors)
        expected[entry_form.substr(0, entry_form.find(' ') + 1) + tensor.get<std::string>()] = entry_form;
    const std::map<std::string, std::string> actual = forms(ours);
    for (const auto& [tensor, entry_form] : expected)
      EXPECT_EQ(actual.contains(tensor) ? actual.at(tensor) : "missing", entry_form) << tensor;
    for (const auto& [tensor, entry_form] : actual)
      if (!expected.contains(tensor)) ADD_FAILURE() << "not AIMET's: " << tensor << " " << entry_form;
  }
  static void compare_derived(const json& file, const json& wanted) {
    std::map<std::string, json> by_name;
    for (const json& entry : file["encodings"]) by_name[entry["name"]] = entry;
    for (const auto& [name, values] : wanted.items()) {
      if (!by_name.contains(name)) continue;  // reported with the forms
      const json& entry = by_name[name];
      const auto close = [](double a, double b) { return std::abs(a - b) <= 1e-4 * b; };
      EXPECT_TRUE(close(first_of(entry["y_scale"]), values[0].get<double>())) << name << " " << entry["y_scale"];
      EXPECT_TRUE(close(last_of(entry["y_scale"]), values[1].get<double>())) << name << " " << entry["y_scale"];
      EXPECT_EQ(first_of(entry.value("y_zero_point", json(0))), values[2].get<double>()) << name;
    }
  }
};

TEST_P(Formats, AreAimetsInEveryVersion) {
  SessionOptions aimets;
  aimets.rounding = Rounding::half_up;
  Session session(GetParam().model(), aimets);
  const json reference = json::parse(test::read_bytes(GetParam().data("formats.json")));
  ASSERT_EQ(reference.size(), test::golden_runs.size());
  for (const test::GoldenRun& run : test::golden_runs) {
    const json& versions = reference.at(run.name);
    const bool values = versions.contains("2.0.0");  // of derived encodings: only they depend on the data
    const EncodingSet found = calibrate(session, run, values ? every_batch : 1);
    for (const auto& [version, theirs] : versions.items()) {
      SCOPED_TRACE(fmt::format("{} {}", run.name, version));
      const json ours = write(found, run, parse_encoding_version(version), session.graph());
      std::set<std::string> keys;
      for (const auto& [key, value] : ours.items()) keys.insert(key);
      EXPECT_EQ(json(keys), theirs["top"]);
      EXPECT_EQ(ours.contains("quantizer_args"), theirs.contains("quantizer_args"));
      if (theirs.contains("quantizer_args")) {
        EXPECT_EQ(ours["quantizer_args"], theirs["quantizer_args"]);
      }
      const json& entries = theirs["entries"];
      compare_entries(ours, entries.is_string() ? reference[entries.get<std::string>()][version]["entries"] : entries);
      if (theirs.contains("derived")) compare_derived(ours, theirs["derived"]);
    }
  }
}

/// Every bias of a convolution or product has a grid of 32 bits that is the product of the scales of the input and the
/// weight; one that several operators share, the coarsest of theirs.
TEST_P(Formats, BiasesTakeTheScaleOfTheirAccumulator) {
  Session session(GetParam().model());
  const Graph& graph = session.graph();
  EncodingSet set = calibrate(session, test::golden_runs[0], 1);
  add_derived_encodings(set, graph);
  std::map<ValueId, std::vector<double>> expected;
  std::set<ValueId> biases;
  const auto encodings_of = [&](ValueId value) -> const TensorEncodings* {
    const std::string& name = graph.value(value).name;
    const TensorEncodings* found = set.find(name, SiteRole::parameter);
    return found != nullptr ? found : set.find(name, SiteRole::activation);
  };
  for (const Op& op : collect_ops(graph, {"MatmulAdd"})) {
    if (op.type != "Conv" && op.type != "ConvTranspose" && op.type != "Gemm") continue;
    const Parameter* weight = nullptr;
    const Parameter* bias = nullptr;
    for (const Parameter& parameter : op.parameters)
      (parameter.type == "weight" ? weight : parameter.type == "bias" ? bias : weight) = &parameter;
    if (weight == nullptr || bias == nullptr) continue;
    biases.insert(bias->value);
    const TensorEncodings* input = encodings_of(op.inputs[0]);
    const TensorEncodings* scales = encodings_of(weight->value);
    if (input == nullptr || scales == nullptr || scales->encodings.empty()) continue;
    std::vector<double>& all = expected[bias->value];
    all.resize(std::max(all.size(), scales->encodings.size()));
    for (std::size_t i = 0; i < scales->encodings.size(); ++i)
      all[i] = std::max(all[i], scales->encodings[i].scale * input->encodings[0].scale);
  }
  for (const ValueId bias : biases) {
    const TensorEncodings* found = encodings_of(bias);
    ASSERT_NE(found, nullptr) << graph.value(bias).name;
    EXPECT_EQ(found->spec.bitwidth, 32);
    if (!expected.contains(bias)) continue;
    ASSERT_EQ(found->encodings.size(), expected[bias].size()) << graph.value(bias).name;
    for (std::size_t i = 0; i < expected[bias].size(); ++i)
      EXPECT_DOUBLE_EQ(found->encodings[i].scale, expected[bias][i]) << graph.value(bias).name;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Formats, testing::ValuesIn(test::golden_models),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace tare
