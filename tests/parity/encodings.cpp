#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <sstream>

#include "parity/checks.hpp"

namespace tare::parity {
namespace {

constexpr double scale_tolerance = 1e-4;
constexpr double cost_tolerance = 1e-3;

bool equal(const Encoding& found, const Grid& expected) {
  const double scale = static_cast<double>(expected.scale);
  return std::abs(found.scale - scale) <= scale_tolerance * scale && found.offset == expected.offset;
}

/// Our float32 sums run in another order than ONNX Runtime's. Where that decides, explained.tsv names the tensor and
/// how; a difference of any other size is none of these.
enum class Cause {
  none,
  half,  ///< minimum / scale lies next to a half: the offset rounds to the neighbour
  edge,  ///< the maximum of the first batch lies on an edge of AIMET's histogram: its window ends a bin, 1/512, earlier
};

Cause cause_in_table(const Subject& subject, const std::string& tensor) {
  static const auto table = [] {
    std::map<std::string, Cause> entries;
    std::ifstream file(test::data_folder() / "golden/explained.tsv");
    for (std::string line; std::getline(file, line);)
      if (const std::size_t tab = line.rfind('\t'); tab != std::string::npos && !line.starts_with('#'))
        entries[line.substr(0, tab)] = line.substr(tab + 1) == "half" ? Cause::half : Cause::edge;
    return entries;
  }();
  const auto it = table.find(fmt::format("{}\t{}\t{}", subject.model.name, subject.run.name, tensor));
  return it == table.end() ? Cause::none : it->second;
}

bool explains(Cause cause, const Encoding& found, const Grid& expected) {
  const double ratio = found.scale / static_cast<double>(expected.scale);
  if (cause == Cause::half) return std::abs(ratio - 1) < 1e-5 && std::abs(found.offset - expected.offset) == 1;
  return cause == Cause::edge && std::abs(std::abs(ratio - 1) - 1.0 / 512) < 1e-5;
}

/// The histograms that AIMET's cost is a sum over: one a channel for a parameter, that of its group for an activation.
std::vector<TfEnhancedHistogram> histograms(const Subject& subject, const TensorEncodings& found) {
  if (found.role == SiteRole::activation) {
    for (const NamedStatistics& entry : subject.found.statistics.tensors)
      if (entry.tensor == found.tensor) return {entry.statistics.tf_enhanced.value()};
    return {};
  }
  const GroupedValues grouped =
      group_parameter(found.tensor, *subject.graph.constant(subject.graph.find(found.tensor)), found.spec);
  std::vector<TfEnhancedHistogram> result(grouped.groups);
  for (std::size_t g = 0; g < grouped.groups; ++g)
    update(result[g], std::span(grouped.values).subspan(g * grouped.size, grouped.size));
  return result;
}

/// Our cost over AIMET's, the largest of all channels that differ.
double relative_cost(const Subject& subject, const TensorEncodings& found, const std::vector<Grid>& expected) {
  const std::vector<TfEnhancedHistogram> all = histograms(subject, found);
  double largest = 1;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (equal(found.encodings[i], expected[i])) continue;
    const auto cost = [&](double scale, double offset) {
      return tf_enhanced_cost(all.at(i), found.spec, {.min = 0, .max = 0, .scale = scale, .offset = offset});
    };
    const double ours = cost(found.encodings[i].scale, found.encodings[i].offset);
    const double aimets = cost(static_cast<double>(expected[i].scale), expected[i].offset);
    largest = std::max(largest, ours / aimets);
  }
  return largest;
}

std::string first_difference(const TensorEncodings& found, const std::vector<Grid>& expected) {
  std::size_t differing = 0;
  std::string first;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (equal(found.encodings[i], expected[i])) continue;
    if (differing++ == 0)
      first = fmt::format("channel {}: scale {:.7g} offset {}, AIMET {:.7g} {}", i, found.encodings[i].scale,
                          found.encodings[i].offset, expected[i].scale, expected[i].offset);
  }
  return fmt::format("{} of {} differ, {}", differing, expected.size(), first);
}

}  // namespace

Cell compare_encodings(const Subject& subject) {
  const bool searched = subject.run.scheme == Scheme::tf_enhanced;
  const double bar = searched ? 0.97 : 0.995;
  Cell cell;
  std::size_t same = 0;
  std::size_t compared = 0;
  std::size_t explained = 0;
  for (const TensorEncodings& found : subject.found.encodings.tensors) {
    const auto it = subject.reference.find(found.tensor);
    if (it == subject.reference.end() || it->second.grids.size() != found.encodings.size()) continue;
    const std::vector<Grid>& expected = it->second.grids;
    ++compared;
    const Cause cause = cause_in_table(subject, found.tensor);
    if (std::equal(found.encodings.begin(), found.encodings.end(), expected.begin(), equal)) {
      ++same;
      continue;
    }
    std::string line = fmt::format("'{}': {}", found.tensor, first_difference(found, expected));
    if (explains(cause, found.encodings[0], expected[0])) {
      ++explained;
      cell.notes.push_back(fmt::format("{}; {}", line, cause == Cause::half ? "rounds to the next offset" : "one bin"));
    } else if (searched) {
      const double cost = relative_cost(subject, found, expected);
      line += fmt::format("; cost {:+.4f} %", 100 * (cost - 1));
      (cost <= 1 + cost_tolerance ? cell.notes : cell.failures).push_back(line);
    } else {
      cell.failures.push_back(line + "; not explained");
    }
  }
  cell.text = fmt::format("{} of {}", same, compared);
  const auto reaches = [&](std::size_t tensors) {
    return static_cast<double>(tensors) >= bar * static_cast<double>(compared);
  };
  const std::string below =
      fmt::format("{} of {} tensors have AIMET's encoding, less than {} %", same, compared, 100 * bar);
  if (!reaches(same + explained))
    cell.failures.push_back(below);
  else if (!reaches(same))
    cell.shortfalls.push_back(below + "; all others are explained");
  return cell;
}

}  // namespace tare::parity
