#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "calib/encoding.hpp"
#include "parity/checks.hpp"

namespace tare::parity {
namespace {

constexpr double scale_tolerance = 1e-4;
constexpr double cost_tolerance = 1e-3;
/// How far sums in another order move a value, in itself.
constexpr double summation_noise = 1e-5;

bool equal(const Encoding& found, const Grid& expected) {
  const double scale = static_cast<double>(expected.scale);
  return std::abs(found.scale - scale) <= scale_tolerance * scale && found.offset == expected.offset;
}

const TensorStatistics* statistics_of(const Subject& subject, const std::string& tensor) {
  for (const auto* list : {&subject.found.statistics.tensors, &subject.found.statistics.derived})
    for (const NamedStatistics& entry : *list)
      if (entry.tensor == tensor) return &entry.statistics;
  return nullptr;
}

/// "half": minimum / scale lies next to a half, and the offset rounds to its other neighbour.
bool rounds_to_the_neighbour(const TensorStatistics& statistics, const Encoding& found, const Grid& expected) {
  const double ratio = found.scale / static_cast<double>(expected.scale);
  const double half = (found.offset + expected.offset) / 2;
  const double exact = std::min(0.0, static_cast<double>(statistics.min)) / found.scale;
  return std::abs(ratio - 1) < summation_noise && std::abs(found.offset - expected.offset) == 1 &&
         std::abs(exact - half) < summation_noise * std::abs(half);
}

/// "edge": AIMET's window is three times the range of its first batch, 512 bins. The largest value of a first batch
/// without negative ones therefore lies on an edge, and its last digit says in which of two bins. Moved to the other
/// one in our histogram, it gives AIMET's encoding.
bool follows_from_the_other_bin(const TensorStatistics& statistics, const QuantizerSpec& spec, const Grid& expected) {
  if (statistics.min < 0) return false;
  const TfEnhancedHistogram& ours = statistics.tf_enhanced.value();
  const auto above = static_cast<std::size_t>(512 - ours.first_bin);
  const double share = 1.0 / static_cast<double>(statistics.count);  // of one value, all batches having as many
  const auto moved_gives_aimets = [&](std::size_t from, std::size_t to) {
    TfEnhancedHistogram moved = ours;
    const double left = moved.density.at(from) - share;
    if (left < -share / 2) return false;  // it is not there
    moved.density[from] = left < share / 2 ? 0 : left;
    moved.density.at(to) += share;
    return equal(tf_enhanced_encoding(moved, spec), expected);
  };
  return moved_gives_aimets(above, above - 1) || moved_gives_aimets(above - 1, above);
}

/// Our float32 sums run in another order than ONNX Runtime's. Where the last digits decide, explained.tsv says so; that
/// nothing else is needed to have AIMET's encoding is found out here. Parameters are the same bits in both.
bool explains(const Subject& subject, const std::string& reason, const TensorEncodings& found,
              const std::vector<Grid>& expected) {
  const TensorStatistics* statistics = statistics_of(subject, found.tensor);
  if (found.role == SiteRole::parameter || statistics == nullptr) return false;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const Encoding& encoding = found.encodings[i];
    if (equal(encoding, expected[i])) continue;
    const bool follows = subject.run.scheme == Scheme::tf_enhanced
                             ? reason == "edge" && follows_from_the_other_bin(*statistics, found.spec, expected[i])
                             : reason == "half" && rounds_to_the_neighbour(*statistics, encoding, expected[i]);
    if (!follows) return false;
  }
  return true;
}

/// The histograms that AIMET's cost is a sum over: one a channel for a parameter, that of its group for an activation.
std::vector<TfEnhancedHistogram> histograms(const Subject& subject, const TensorEncodings& found) {
  if (found.role == SiteRole::activation) {
    const TensorStatistics* statistics = statistics_of(subject, found.tensor);
    return statistics == nullptr ? std::vector<TfEnhancedHistogram>() : std::vector{statistics->tf_enhanced.value()};
  }
  const calib::GroupedValues grouped =
      calib::group_parameter(found.tensor, *subject.graph().constant(subject.graph().find(found.tensor)), found.spec);
  std::vector<TfEnhancedHistogram> result(grouped.groups);
  for (std::size_t g = 0; g < grouped.groups; ++g)
    update(result[g], std::span(grouped.values).subspan(g * grouped.size, grouped.size));
  return result;
}

/// How much our encoding costs above AIMET's, as a share of AIMET's; the largest of all channels that differ.
double excess_cost(const Subject& subject, const TensorEncodings& found, const std::vector<Grid>& expected) {
  const std::vector<TfEnhancedHistogram> all = histograms(subject, found);
  double largest = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (equal(found.encodings[i], expected[i])) continue;
    const auto cost = [&](double scale, double offset) {
      return calib::tf_enhanced_cost(all.at(i), found.spec, {.min = 0, .max = 0, .scale = scale, .offset = offset});
    };
    const double ours = cost(found.encodings[i].scale, found.encodings[i].offset);
    const double aimets = cost(static_cast<double>(expected[i].scale), expected[i].offset);
    if (ours <= aimets) continue;
    // A cost that is no number, or above one of zero, is beyond every bar.
    const double excess = (ours - aimets) / aimets;
    largest = std::isnan(excess) ? std::numeric_limits<double>::infinity() : std::max(largest, excess);
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

/// Sorts one difference into the cell.
void judge(const Subject& subject, const TensorEncodings& found, const std::vector<Grid>& expected, Cell& cell) {
  const bool searched = subject.run.scheme == Scheme::tf_enhanced;
  std::string line = fmt::format("'{}': {}", found.tensor, first_difference(found, expected));
  if (searched) {
    const double excess = excess_cost(subject, found, expected);
    line += fmt::format("; cost {:+.4f} %", 100 * excess);
    if (excess <= cost_tolerance) {
      cell.notes.push_back(line);
      return;
    }
  }
  const auto reason =
      subject.tables.encodings.find({subject.model.name, subject.run.name, name_of(subject.sums), found.tensor});
  if (!reason)
    cell.failures.push_back(line + "; not explained");
  else if (!explains(subject, *reason, found, expected))
    cell.failures.push_back(fmt::format("{}; explained.tsv says '{}', but that is not it", line, *reason));
  else if (searched)
    cell.over_cost.push_back(line + "; the first batch's largest value lies on an edge of the histogram");
  else
    cell.notes.push_back(line + "; rounds to the next offset");
}

}  // namespace

Cell compare_encodings(const Subject& subject) {
  const double bar = subject.run.scheme == Scheme::tf_enhanced ? 0.97 : 0.995;
  Cell cell;
  std::size_t same = 0;
  std::size_t compared = 0;
  for (const TensorEncodings& found : subject.found.encodings.tensors) {
    const auto it = subject.reference.find(found.tensor);
    // Another number of channels is another quantizer: compare_quantizers says so.
    if (it == subject.reference.end() || it->second.grids.size() != found.encodings.size()) continue;
    const std::vector<Grid>& expected = it->second.grids;
    ++compared;
    if (std::equal(found.encodings.begin(), found.encodings.end(), expected.begin(), equal))
      ++same;
    else
      judge(subject, found, expected, cell);
  }
  cell.text = fmt::format("{} of {}", same, compared);
  if (static_cast<double>(same) < bar * static_cast<double>(compared))
    cell.below_bar.push_back(
        fmt::format("{} of {} tensors have AIMET's encoding, less than {} %", same, compared, 100 * bar));
  return cell;
}

}  // namespace tare::parity
