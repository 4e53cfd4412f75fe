// Parity with AIMET on eight real models: one table over all runs, one column a comparison. Differences are printed
// below it; those beyond the bar fail. A run that stays below the bar only by differences of float32 sums, each of them
// explained, is made again with sums in float64 (`--math fp64`); the cell shows both. Arguments: names of models, to
// compare these only.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <iterator>
#include <optional>
#include <span>
#include <string_view>

#include "parity/checks.hpp"

namespace tare::parity {
namespace {

CalibrationResult calibrate(Session& session, const std::vector<Batch>& batches, const Run& run) {
  CalibrationOptions options;
  options.config = run.config;
  options.search.scheme = run.scheme;
  options.types.activation.bitwidth = run.activation_bits;
  Calibration calibration = session.start_calibration(options);
  for (const Batch& batch : batches) calibration.add(batch.inputs, batch.samples);
  return calibration.finish();
}

Session open(const test::GoldenModel& model, bool wide_sums) {
  SessionOptions options;
  options.rounding = Rounding::half_up;  // AIMET's: a weight that rounds the other way moves what comes after it
  options.cpu.wide_sums = wide_sums;
  return Session(model.model(), options);
}

/// `wanted`: names of models; none: all of them.
bool compare(std::span<char*> wanted) {
  std::vector<std::string> notes;
  std::vector<std::string> shortfalls;
  std::vector<std::string> failures;
  fmt::print("{:12} {:24}", "model", "run");
  for (const Check& check : checks) fmt::print(" {:>14}", check.heading);
  fmt::print("\n");
  for (const test::GoldenModel& model : test::golden_models) {
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), std::string_view(model.name)) == wanted.end())
      continue;
    Session session = open(model, false);
    std::optional<Session> wide;  // sums in float64: where those in float32 leave a run below the bar
    const std::vector<Batch> batches = test::golden_batches(model, session.graph());
    for (const Run& run : runs) {
      const Reference reference = load_reference(model, run);
      const CalibrationResult found = calibrate(session, batches, run);
      fmt::print("{:12} {:24}", model.name, run.name);
      for (const Check& check : checks) {
        Cell cell = check.compare({model, run, reference, session.graph(), found});
        if (!cell.shortfalls.empty()) {
          if (!wide) wide.emplace(open(model, true));
          const CalibrationResult exact = calibrate(*wide, batches, run);
          Cell again = check.compare({model, run, reference, wide->graph(), exact});
          again.text = fmt::format("{}; fp64 {}", cell.text, again.text);
          for (std::string& line : again.notes) line += " (fp64)";
          std::move(again.notes.begin(), again.notes.end(), std::back_inserter(cell.notes));
          again.notes = std::move(cell.notes);
          cell = std::move(again);
        }
        fmt::print(" {:>14}", cell.text);
        const auto keep = [&](std::vector<std::string>& list, const std::vector<std::string>& lines) {
          for (const std::string& line : lines) list.push_back(fmt::format("{} {}: {}", model.name, run.name, line));
        };
        keep(notes, cell.notes);
        keep(shortfalls, cell.shortfalls);
        keep(failures, cell.failures);
      }
      fmt::print("\n");
      std::fflush(stdout);
    }
  }
  const auto print = [](const char* heading, const std::vector<std::string>& lines) {
    if (!lines.empty()) fmt::print("\n{}\n  {}\n", heading, fmt::join(lines, "\n  "));
  };
  print("Differ, within the bar or explained:", notes);
  print("Below the bar with sums in float64 (--math fp64), too, but every difference is explained:", shortfalls);
  print("FAILED:", failures);
  fmt::print("\n{} failures\n", failures.size());
  return failures.empty();
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
