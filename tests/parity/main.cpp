// Parity with AIMET on eight real models: one table over all runs, one column a comparison. Differences are printed
// below it; those beyond the bar fail. Where the order of float32 sums alone keeps a run below the bar, each difference
// explained, the run is made again with sums in float64 (`--math fp64`) and must reach it there; the cell shows both,
// and a list says for which runs it took that. Arguments: names of models, to compare these only.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <iterator>
#include <optional>
#include <span>
#include <stdexcept>
#include <string_view>

#include "parity/checks.hpp"

namespace tare::parity {
namespace {

CalibrationResult calibrate(Session& session, const std::vector<Batch>& batches, const GoldenRun& run) {
  CalibrationOptions options;
  options.config = run.config;
  options.search.scheme = run.scheme;
  options.types.activation.bitwidth = run.activation_bits;
  Calibration calibration = session.start_calibration(options);
  for (const Batch& batch : batches) calibration.add(batch.inputs, batch.samples);
  return calibration.finish();
}

Session open(const test::GoldenModel& model, Sums sums) {
  SessionOptions options;
  options.rounding = Rounding::half_up;  // AIMET's: a weight that rounds the other way moves what comes after it
  options.cpu = cpu_options(sums);
  return Session(model.model(), options);
}

using Lines = std::vector<std::string>;

void append(Lines& list, const Lines& lines, std::string_view before, std::string_view after = "") {
  for (const std::string& line : lines) list.push_back(fmt::format("{}{}{}", before, line, after));
}

/// What stands below the table.
struct Findings {
  Lines notes;
  Lines only_in_float64;
  Lines waived;
  Lines not_needed;
  Lines failures;

  /// `again`: the cell of the run with sums in float64, where the first one stayed below the bar.
  void add(const std::string& where, const Cell& cell, const std::optional<Cell>& again) {
    append(notes, cell.notes, where);
    append(failures, cell.failures, where);
    if (!again) return;
    constexpr std::string_view in_float64 = " (fp64)";
    append(notes, again->notes, where, in_float64);
    append(failures, again->failures, where, in_float64);
    append(failures, again->below_bar, where, in_float64);
    const bool fails = !again->failures.empty() || !again->below_bar.empty();
    Lines& list = fails ? failures : again->over_cost.empty() ? only_in_float64 : waived;
    append(list, cell.below_bar, where);
    append(list, cell.over_cost, where);
    append(list, again->over_cost, where, in_float64);
  }

  void print() const {
    const auto print_list = [](const char* heading, const Lines& lines) {
      if (!lines.empty()) fmt::print("\n{}\n  {}\n", heading, fmt::join(lines, "\n  "));
    };
    print_list("Differ, within the bar or explained:", notes);
    print_list("REACH THE BAR ONLY WITH SUMS IN FLOAT64 (--math fp64); in float32:", only_in_float64);
    print_list(
        "WAIVED: cost more than 0.1 % above AIMET's choice, other tensors in float64, because the last digit of the "
        "first batch's largest value decides in which bin of AIMET's histogram it falls; in the other one it gives "
        "AIMET's:",
        waived);
    print_list("Listed, but not needed with the oneDNN of this machine:", not_needed);
    print_list("FAILED:", failures);
    fmt::print("\n{} failures\n", failures.size());
  }
};

/// All eight, or those that are named.
std::vector<test::GoldenModel> select(std::span<char*> names) {
  if (names.empty()) return {test::golden_models.begin(), test::golden_models.end()};
  std::vector<test::GoldenModel> selected;
  for (const std::string_view name : names) {
    const auto is_named = [&](const test::GoldenModel& model) { return model.name == name; };
    const auto found = std::find_if(test::golden_models.begin(), test::golden_models.end(), is_named);
    if (found == test::golden_models.end()) {
      Lines known;
      for (const test::GoldenModel& model : test::golden_models) known.emplace_back(model.name);
      throw std::runtime_error(fmt::format("'{}' is none of the models: {}", name, fmt::join(known, ", ")));
    }
    selected.push_back(*found);
  }
  return selected;
}

bool compare(std::span<char*> names) {
  Findings findings;
  Tables tables;
  const std::vector<test::GoldenModel> models = select(names);
  fmt::print("{:12} {:24}", "model", "run");
  for (const Check& check : checks) fmt::print(" {:>{}}", check.heading, check.width);
  fmt::print("\n");
  for (const test::GoldenModel& model : models) {
    Session session = open(model, Sums::float32);
    std::optional<Session> wide;  // sums in float64
    const std::vector<Batch> batches = test::golden_batches(model, session.graph());
    for (const GoldenRun& run : test::golden_runs) {
      const Reference reference = load_reference(model, run);
      const CalibrationResult found = calibrate(session, batches, run);
      std::optional<CalibrationResult> exact;
      fmt::print("{:12} {:24}", model.name, run.name);
      for (const Check& check : checks) {
        Cell cell = check.compare({model, run, reference, Sums::float32, session, batches, found, tables});
        std::optional<Cell> again;
        if (!cell.reaches_bar()) {
          if (!wide) wide.emplace(open(model, Sums::float64));
          if (!exact) exact = calibrate(*wide, batches, run);
          again = check.compare({model, run, reference, Sums::float64, *wide, batches, *exact, tables});
          cell.text += fmt::format("; fp64 {}", again->text);
        }
        fmt::print(" {:>{}}", cell.text, check.width);
        findings.add(fmt::format("{} {}: ", model.name, run.name), cell, again);
      }
      fmt::print("\n");
      std::fflush(stdout);
    }
    for (const DifferenceTable* table : {&tables.encodings, &tables.simulation})
      append(findings.not_needed, table->unused(model.name), "");
  }
  findings.print();
  return findings.failures.empty();
}

}  // namespace
}  // namespace tare::parity

int main(int argc, char** argv) {
  try {
    return tare::parity::compare(std::span(argv, static_cast<std::size_t>(argc)).subspan(1)) ? EXIT_SUCCESS
                                                                                             : EXIT_FAILURE;
  } catch (const std::exception& error) {
    fmt::print(stderr, "parity: {}\n", error.what());
    return EXIT_FAILURE;
  }
}
