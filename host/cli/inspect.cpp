// tare inspect: a model, an encodings file or a statistics file, told apart by their first bytes.
#include "cli/inspect.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>

#include "cli/options.hpp"
#include "cli/terminal.hpp"
#include "export/given_encodings.hpp"
#include "tare/calibration.hpp"
#include "tare/export.hpp"

namespace tare::cli {
namespace {

enum class Kind { model, encodings, statistics };

Kind kind_of(const std::string& path) {
  std::error_code ignored;
  const std::filesystem::file_status there = std::filesystem::status(path, ignored);
  if (std::filesystem::exists(there) && !std::filesystem::is_regular_file(there))  // what a pipe gives is gone then
    throw Error(ErrorKind::io, fmt::format("cannot read '{}': it is {}; give a model, .encodings or .stats file", path,
                                           std::filesystem::is_directory(there) ? "a folder" : "no regular file"));
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorKind::io, fmt::format("cannot read '{}': check the path and its permissions", path));
  std::string start(64, '\0');
  file.read(start.data(), static_cast<std::streamsize>(start.size()));
  start.resize(static_cast<std::size_t>(file.gcount()));
  if (start.starts_with("TARESTAT")) return Kind::statistics;
  const std::size_t first = start.find_first_not_of(" \t\r\n");
  const std::filesystem::path name(path);
  if (name.extension() == ".encodings" || (first != std::string::npos && (start[first] == '{' || start[first] == '[')))
    return Kind::encodings;
  return name.extension() == ".stats" ? Kind::statistics : Kind::model;
}

std::string number_text(double value) { return fmt::format("{:.6g}", value); }

}  // namespace

std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows)
    for (std::size_t c = 0; c < row.size(); ++c) {
      if (c == widths.size()) widths.push_back(0);
      widths[c] = std::max(widths[c], row[c].size());
    }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      if (c > 0) line += "  ";
      if (c == 0 || c + 1 == row.size())
        line += c + 1 == row.size() ? row[c] : fmt::format("{:<{}}", row[c], widths[c]);
      else
        line += fmt::format("{:>{}}", row[c], widths[c]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += one_line(std::move(line)) + "\n";
  }
  return text;
}

Inspection inspect_encodings(const InspectFlags& flags) {
  const EncodingSet set = load_encodings(flags.file);
  Inspection result;
  std::size_t parameters = 0;
  std::vector<std::vector<std::string>> rows = {{"tensor", "encodings", "min", "max", "scale", "offset", "kind"}};
  result.json = {{"file", flags.file}, {"tensors", nlohmann::ordered_json::array()}};
  for (const TensorEncodings& tensor : set.tensors) {
    const bool parameter = tensor.role == SiteRole::parameter;
    parameters += parameter ? 1 : 0;
    double minimum = 0;
    double maximum = 0;
    double finest = 0;
    double coarsest = 0;
    for (std::size_t i = 0; i < tensor.encodings.size(); ++i) {
      const Encoding& e = tensor.encodings[i];
      minimum = i == 0 ? e.min : std::min(minimum, e.min);
      maximum = i == 0 ? e.max : std::max(maximum, e.max);
      finest = i == 0 ? e.scale : std::min(finest, e.scale);
      coarsest = i == 0 ? e.scale : std::max(coarsest, e.scale);
    }
    const bool one = tensor.encodings.size() == 1;
    const bool none = tensor.encodings.empty();
    rows.push_back({tensor.tensor, std::to_string(tensor.encodings.size()), none ? "" : number_text(minimum),
                    none ? "" : number_text(maximum),
                    none  ? ""
                    : one ? number_text(finest)
                          : number_text(finest) + " … " + number_text(coarsest),
                    one ? number_text(tensor.encodings[0].offset) : "",
                    fmt::format("{}, {}", parameter ? "parameter" : "activation", kind_text(tensor.spec))});
    nlohmann::ordered_json entry = {{"name", tensor.tensor},
                                    {"role", parameter ? "parameter" : "activation"},
                                    {"kind", kind_text(tensor.spec)},
                                    {"bitwidth", tensor.spec.bitwidth},
                                    {"symmetric", tensor.spec.symmetric},
                                    {"encodings", tensor.encodings.size()}};
    if (tensor.spec.block_size > 0) entry["block_size"] = tensor.spec.block_size;
    if (tensor.spec.decompressed_bitwidth > 0) entry["decompressed_bitwidth"] = tensor.spec.decompressed_bitwidth;
    if (!none) {
      entry["min"] = minimum;
      entry["max"] = maximum;
      entry["smallest_scale"] = finest;
      entry["largest_scale"] = coarsest;
    }
    result.json["tensors"].push_back(std::move(entry));
  }
  result.text = fmt::format("{}: {} tensors: {} activations, {} parameters\n", flags.file, set.tensors.size(),
                            set.tensors.size() - parameters, parameters);
  if (!set.tensors.empty()) result.text += "\n" + table(rows);
  return result;
}

Inspection inspect_statistics(const InspectFlags& flags) {
  const StatisticsFile file = load_statistics(flags.file);
  const Fingerprint& origin = file.fingerprint;
  Inspection result;
  result.json = {{"file", flags.file},
                 {"samples", file.samples},
                 {"tare_version", origin.tare_version},
                 {"model", origin.model},
                 {"data", origin.data},
                 {"batch_grouping", origin.batch_grouping},
                 {"float_weights", origin.float_weights},
                 {"tensors", nlohmann::ordered_json::array()}};
  std::vector<std::vector<std::string>> rows = {{"tensor", "values", "min", "max", "zeros", "bins", "notes"}};
  for (const NamedStatistics& entry : file.tensors) {
    const TensorStatistics& s = entry.statistics;
    std::string notes;
    if (s.nonfinite_count() > 0) notes = fmt::format("{} NaN or infinite", s.nonfinite_count());
    if (const auto sentinels = find_sentinels(s))
      notes += fmt::format("{}{} values down to {:g} only mark something", notes.empty() ? "" : ", ", sentinels->count,
                           sentinels->min);
    const bool empty = s.min > s.max;
    rows.push_back(
        {entry.tensor, std::to_string(s.count), empty ? "" : number_text(s.min), empty ? "" : number_text(s.max),
         s.count > 0 ? fmt::format("{:.1f} %", 100 * static_cast<double>(s.zero_count) / static_cast<double>(s.count))
                     : "",
         std::to_string(s.bins.size()), notes});
    nlohmann::ordered_json object = {{"name", entry.tensor}, {"count", s.count}};
    if (!empty) {
      object["min"] = s.min;
      object["max"] = s.max;
    }
    object["zero_count"] = s.zero_count;
    object["nonfinite_count"] = s.nonfinite_count();
    object["bins"] = s.bins.size();
    result.json["tensors"].push_back(std::move(object));
  }
  result.text = fmt::format("{}: {} tensors, {} samples, {}, observed behind {} weights, data {}, tare {}\n",
                            flags.file, file.tensors.size(), file.samples, origin.batch_grouping,
                            origin.float_weights ? "float" : "quantized", origin.data, origin.tare_version);
  if (!file.tensors.empty()) result.text += "\n" + table(rows);
  return result;
}

void add_inspect(CLI::App& root, Action& action) {
  CLI::App& command =
      *root.add_subcommand("inspect", "Show what is in a model, an encodings file or a statistics file");
  const auto flags = std::make_shared<InspectFlags>();
  const auto report = std::make_shared<ReportFlags>();
  command.add_option("file", flags->file, "The file")->type_name("MODEL.onnx|F.encodings|F.stats")->required();
  command.add_option("--config", flags->config, "Models: the quantizer config that the sites are shown for")
      ->type_name("NAME|FILE")
      ->capture_default_str();
  command.add_flag("--all", flags->all, "Models: list every site, not only counts");
  add_report_flags(command, *report);
  add_examples(command, {"tare inspect model.onnx", "tare inspect model.onnx --all --config default_per_tensor",
                         "tare inspect out/model.encodings", "tare inspect model.stats --json"});
  command.callback([flags, report, &action, &command] {
    action = [flags, report, &command] {
      const Kind kind = kind_of(flags->file);
      if (kind != Kind::model) refuse_idle(command, {"--config", "--all"}, "it is for models");
      const Inspection result = kind == Kind::model       ? inspect_model(*flags)
                                : kind == Kind::encodings ? inspect_encodings(*flags)
                                                          : inspect_statistics(*flags);
      if (kind == Kind::model && result.json["quantizers"]["own"])
        refuse_idle(command, {"--config"}, "the model holds quantizers, and there are no others");
      if (report->json)
        print_json(result.json);
      else if (!report->quiet)
        print(result.text);
      return 0;
    };
  });
}

}  // namespace tare::cli
