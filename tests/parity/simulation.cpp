#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "parity/checks.hpp"
#include "parity/divergence.hpp"

namespace tare::parity {
namespace {

constexpr double margin = 10;  // dB
constexpr std::size_t nearby_runs = 9;

/// Our quantizers with AIMET's grids. The quantizers are the same: compare_quantizers sees to it.
EncodingSet aimets_encodings(const Subject& subject) {
  EncodingSet set = subject.found.encodings;
  std::erase_if(set.tensors, [&](TensorEncodings& tensor) {
    const auto theirs = subject.reference.find(tensor.tensor);
    if (theirs == subject.reference.end()) return true;
    tensor.encodings.clear();
    for (const Grid& grid : theirs->second.grids) {
      const double scale = static_cast<double>(grid.scale);
      const double steps = static_cast<double>(tensor.spec.steps());
      tensor.encodings.push_back({scale * grid.offset, scale * (grid.offset + steps), scale, double(grid.offset)});
    }
    return false;
  });
  return set;
}

double decibels(const Tensor& actual, const Tensor& expected) { return -10 * std::log10(test::nmse(actual, expected)); }

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.type() == b.type() && a.shape() == b.shape() && std::equal(a.data(), a.data() + a.bytes(), b.data());
}

/// A miss is explained where a code rounds the other way when sums run in another order, and our own runs that differ
/// in no more than that lie as far from each other as AIMET's lies from ours.
void explain_miss(const Subject& subject, const std::string& key, std::size_t output, double ours, double bar,
                  const Tensor& simulated, Divergence& divergence, Cell& cell) {
  double furthest = std::numeric_limits<double>::infinity();
  std::size_t runs = 0;
  for (; runs < nearby_runs && furthest > ours; ++runs)
    furthest = std::min(furthest, decibels(divergence.nearby_run(runs)[output], simulated));
  const std::string line = fmt::format(
      "'{}': {:.2f} dB, the bar is {:.2f}; of {} of our own runs with sums in float64 or values moved by a unit in the "
      "last place, the furthest lies at {:.2f} dB; '{}' is the first to differ, in {} of {} codes",
      key, ours, bar, runs, furthest, divergence.tensor, divergence.codes, divergence.elements);
  if (!subject.tables.simulation.find({subject.model.name, subject.run.name, key, divergence.tensor}))
    cell.failures.push_back(line + "; not in diverging.tsv");
  else if (ours < furthest || divergence.largest_steps > 1.5)
    cell.failures.push_back(line + "; that does not explain it");
  else
    cell.notes.push_back(line);
}

}  // namespace

Cell compare_simulation(const Subject& subject) {
  Cell cell;
  if (!subject.run.simulated) {
    cell.text = "-";
    return cell;
  }
  const NpzFile expected(subject.model.data(fmt::format("{}.sim_outputs.npz", subject.run.name)));
  const EncodingSet encodings = aimets_encodings(subject);
  subject.session.set_encodings(encodings);
  std::size_t reaching = 0;
  std::size_t compared = 0;
  for (std::size_t b = 0; b < subject.batches.size(); ++b) {
    const std::vector<Tensor>& inputs = subject.batches[b].inputs;
    const auto key_of = [&](std::size_t o) {
      return fmt::format("{:03}/{}", b, subject.graph().value(subject.graph().outputs[o]).name);
    };
    if (!expected.has(key_of(0))) continue;
    const std::vector<Tensor> exact = subject.session.run(inputs);
    const std::vector<Tensor> simulated = subject.session.simulate(inputs);
    std::optional<Divergence> divergence;
    for (std::size_t o = 0; o < simulated.size(); ++o) {
      const std::string key = key_of(o);
      const Tensor theirs = expected.read(key);
      ++compared;
      if (same_bits(simulated[o], theirs)) {
        ++reaching;
        continue;
      }
      if (theirs.type() != DataType::float32 || simulated[o].type() != DataType::float32) {
        cell.failures.push_back(fmt::format("'{}': not AIMET's {} values", key, name_of(theirs.type())));
        continue;
      }
      const double ours = decibels(simulated[o], theirs);
      const double bar = decibels(theirs, exact[o]) + margin;
      if (ours >= bar) {
        ++reaching;
        continue;
      }
      if (!divergence) divergence = find_divergence(subject.graph(), encodings, inputs);
      explain_miss(subject, key, o, ours, bar, simulated[o], *divergence, cell);
    }
  }
  if (compared == 0) cell.failures.push_back("AIMET's simulated outputs are of no batch");
  cell.text = fmt::format("{} of {}", reaching, compared);
  return cell;
}

}  // namespace tare::parity
