// An encodings file against a model. What the file's encodings become is adopt_encodings' answer, what follows from
// them add_derived_encodings'; this file only compares. Odd: tensors that repeat what follows from others are no
// finding, since version 2.0.0 lists them so that a converter finds every tensor.
#include "tare/lint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "calib/encoding.hpp"
#include "export/given_encodings.hpp"
#include "tare/error.hpp"
#include "tare/export.hpp"
#include "tare/numerics.hpp"
#include "tare/overrides.hpp"

namespace tare {
namespace {

constexpr double float_noise = 1e-6;  // a scale that went through float32, or through a product of two of them

using ByName = std::unordered_map<std::string_view, const TensorEncodings*>;

ByName by_name(const EncodingSet& set) {
  ByName result;
  for (const TensorEncodings& tensor : set.tensors) result.emplace(tensor.tensor, &tensor);
  return result;
}

bool same_within_noise(const std::vector<Encoding>& a, const std::vector<Encoding>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Encoding& x, const Encoding& y) {
    return std::fabs(x.scale - y.scale) <= float_noise * std::max(x.scale, y.scale) && x.offset == y.offset;
  });
}

std::string grids_text(const TensorEncodings& tensor) {
  if (tensor.encodings.empty()) return kind_text(tensor.spec);
  const Encoding& first = tensor.encodings[0];
  return fmt::format("{} bits, scale {:.6g}, offset {:g}{}", tensor.spec.bitwidth, first.scale, first.offset,
                     tensor.encodings.size() > 1 ? fmt::format(", … ({} grids)", tensor.encodings.size()) : "");
}

/// Share of the finite values outside of [low, high], which holds zero; those of a bin count as evenly spread.
double share_outside(const TensorStatistics& statistics, double low, double high) {
  double total = static_cast<double>(statistics.zero_count);
  double outside = 0;
  for (const auto& [bin, count] : statistics.bins) {
    const double lower = std::max(histogram_bin_lower(bin), static_cast<double>(statistics.min));
    const double upper = std::min(histogram_bin_upper(bin), static_cast<double>(statistics.max));
    const double values = static_cast<double>(count);
    total += values;
    if (upper > lower)
      outside += values * (1 - std::max(0.0, std::min(upper, high) - std::max(lower, low)) / (upper - lower));
    else if (lower < low || lower > high)
      outside += values;
  }
  return total > 0 ? outside / total : 0;
}

class Linter {
 public:
  Linter(const Graph& graph, const std::vector<QuantSite>& sites, const EncodingSet& encodings, EncodingVersion version)
      : graph_(graph),
        sites_(sites),
        lists_every_tensor_(version == EncodingVersion::v2_0_0),
        listed_(by_name(encodings)) {
    for (const QuantSite& site : sites) site_of_.emplace(site.tensor, &site);
    given_.tells_symmetry = !lists_every_tensor_;
    std::unordered_set<std::string_view> values;
    for (const Value& value : graph.values) values.insert(value.name);
    for (const TensorEncodings& tensor : encodings.tensors) {
      if (values.contains(tensor.tensor))
        given_.set.tensors.push_back(tensor);
      else
        add(FindingKind::unknown, tensor.tensor,
            "the model has no such tensor; remove the encoding, or take the model that the file was made for");
    }
  }

  LintReport run(std::span<const NamedStatistics> statistics) {
    for (const NamedStatistics& entry : statistics) seen_.emplace(entry.tensor, &entry.statistics);
    compare_sites();
    compare_others();
    find_dead();
    find_clipped();
    std::stable_sort(report_.findings.begin(), report_.findings.end(),
                     [](const Finding& a, const Finding& b) { return a.kind < b.kind; });
    return std::move(report_);
  }

 private:
  void add(FindingKind kind, std::string tensor, std::string detail) {
    report_.findings.push_back({kind, std::move(tensor), std::move(detail)});
  }

  bool is_placed(const std::string& tensor) const {
    const auto site = site_of_.find(tensor);
    return site != site_of_.end() && site->second->enabled;
  }

  void compare_sites() {
    std::vector<QuantSite> adopted_sites = sites_;
    const AdoptedEncodings adopted = adopt_encodings(adopted_sites, graph_, given_);
    for (const TensorEncodings& tensor : adopted.set.tensors)
      if (is_placed(tensor.tensor)) placed_.tensors.push_back(tensor);
    for (std::size_t s = 0; s < sites_.size(); ++s) {
      const QuantSite& site = sites_[s];
      if (!site.enabled) continue;
      const auto listed = listed_.find(site.tensor);
      if (listed == listed_.end()) {
        if (lists_every_tensor_ && site.spec.format == NumberFormat::float16) continue;
        add(FindingKind::missing, site.tensor,
            fmt::format("the config places a quantizer of {} here; calibrate again, or disable it in the config",
                        kind_text(site.spec)));
        continue;
      }
      const QuantizerSpec& given = listed->second->spec;
      const std::string kind = kind_text(is_wider_than_searched(given) ? given : adopted_sites[s].spec);
      if (kind != kind_text(site.spec))
        add(FindingKind::mismatch, site.tensor,
            fmt::format("given {}, placed {}; calibrate again, or take the config that the file was made with", kind,
                        kind_text(site.spec)));
    }
  }

  /// What is listed without a quantizer: does it say what follows anyway?
  void compare_others() {
    EncodingSet with_derived = placed_;
    add_derived_encodings(with_derived, graph_, sites_);
    const ByName derived = by_name(with_derived);
    if (lists_every_tensor_) find_underived(with_derived);
    for (const TensorEncodings& tensor : given_.set.tensors) {
      if (is_placed(tensor.tensor)) continue;
      const auto follows = derived.find(tensor.tensor);
      if (follows == derived.end()) {
        const auto site = site_of_.find(tensor.tensor);
        const bool reasoned = site != site_of_.end() && !site->second->reason.empty();
        add(FindingKind::unplaced, tensor.tensor,
            fmt::format("ignored: no quantizer here ({}) and no grid to follow; remove the encoding, or enable the "
                        "quantizer",
                        reasoned ? site->second->reason : "not a place for one"));
      } else if (same_within_noise(follows->second->encodings, tensor.encodings)) {
        report_.repeated.push_back(tensor.tensor);
      } else {
        add(FindingKind::derived, tensor.tensor,
            fmt::format("derived again: given {}, but {} follows from its neighbours; remove the encoding",
                        grids_text(tensor), grids_text(*follows->second)));
      }
    }
  }

  /// A converter that finds a tensor in a file of 2.0.0 takes it, and calibrates the others itself.
  void find_underived(const EncodingSet& with_derived) {
    // Of biases it lists all or, with --no-int32-bias, none.
    const bool lists_biases =
        std::any_of(given_.set.tensors.begin(), given_.set.tensors.end(),
                    [](const TensorEncodings& tensor) { return is_wider_than_searched(tensor.spec); });
    for (const TensorEncodings& tensor : with_derived.tensors)
      if (!is_placed(tensor.tensor) && !listed_.contains(tensor.tensor) &&
          (lists_biases || !is_wider_than_searched(tensor.spec)))
        add(FindingKind::missing, tensor.tensor,
            fmt::format("version 2.0.0 lists what follows from other tensors, too: {}; export again, with 'tare "
                        "calibrate --encodings-in' of this file",
                        grids_text(tensor)));
  }

  /// Grids at the smallest scale, and channels of zeros whose scale was raised since to hold the bias.
  std::vector<bool> dead_grids(const TensorEncodings& tensor, const Tensor* constant) const {
    const double floor = calib::minimum_scale(tensor.spec) * (1 + float_noise);
    std::vector<bool> dead;
    for (const Encoding& encoding : tensor.encodings) dead.push_back(encoding.scale <= floor);
    if (constant == nullptr || dead.size() == 1) return dead;
    const calib::GroupedValues grouped = calib::group_parameter(tensor.tensor, *constant, tensor.spec);
    if (grouped.groups != dead.size())
      throw Error(
          ErrorKind::model,
          fmt::format("'{}': {} encodings, but the tensor has {} channels or blocks; calibrate this model again",
                      tensor.tensor, dead.size(), grouped.groups));
    for (std::size_t g = 0; g < dead.size(); ++g) {
      const auto* values = grouped.values.data() + g * grouped.size;
      if (std::all_of(values, values + grouped.size, [](float value) { return value == 0; })) dead[g] = true;
    }
    return dead;
  }

  void find_dead() {
    for (const TensorEncodings& tensor : placed_.tensors) {
      const Tensor* constant = graph_.constant(site_of_.at(tensor.tensor)->value);
      if (tensor.spec.format != NumberFormat::integer || !listed_.contains(tensor.tensor) ||
          (constant != nullptr && tensor.role == SiteRole::activation))  // a constant zero is meant
        continue;
      std::vector<bool> dead = dead_grids(tensor, constant);
      if (const auto seen = seen_.find(tensor.tensor); seen != seen_.end() && dead.size() == 1 && constant == nullptr)
        dead[0] = seen->second->count > 0 && seen->second->zero_count == seen->second->count;
      const auto first = std::find(dead.begin(), dead.end(), true);
      if (first == dead.end()) continue;
      if (dead.size() == 1)
        add(FindingKind::dead, tensor.tensor,
            "nothing but zeros here; check the data, or remove what makes the tensor");
      else
        add(FindingKind::dead, tensor.tensor,
            fmt::format("{} of {} {} hold nothing but zeros, first {}; prune them", std::count(first, dead.end(), true),
                        dead.size(), tensor.spec.block_size > 0 ? "blocks" : "channels", first - dead.begin()));
    }
  }

  void find_clipped() {
    for (const TensorEncodings& tensor : placed_.tensors) {
      if (tensor.role != SiteRole::activation || tensor.spec.format != NumberFormat::integer ||
          tensor.encodings.size() != 1 || !listed_.contains(tensor.tensor))
        continue;
      ++report_.ranges;
      const auto found = seen_.find(tensor.tensor);
      if (found == seen_.end()) continue;
      ++report_.checked;
      const auto sentinels = find_sentinels(*found->second);
      const TensorStatistics data = sentinels ? calib::clamp_sentinels(*found->second, *sentinels) : *found->second;
      const Encoding& grid = tensor.encodings[0];
      const double share = share_outside(data, grid.min - grid.scale, grid.max + grid.scale);
      if (share > clipped_share)
        add(FindingKind::clipped, tensor.tensor,
            fmt::format("[{:.6g}, {:.6g}] clips {:.2f} % of the data, which goes from {:.6g} to {:.6g}; take a wider "
                        "scheme (min_max, percentile) or more bits here",
                        grid.min, grid.max, 100 * share, data.min, data.max));
    }
  }

  const Graph& graph_;
  const std::vector<QuantSite>& sites_;
  bool lists_every_tensor_;
  ByName listed_;
  std::unordered_map<std::string_view, const QuantSite*> site_of_;
  std::unordered_map<std::string_view, const TensorStatistics*> seen_;
  GivenEncodings given_;  ///< what the model has of the file
  EncodingSet placed_;    ///< as their quantizers take them, axes filled in
  LintReport report_;
};

}  // namespace

std::string_view name_of(FindingKind kind) {
  switch (kind) {
    case FindingKind::missing: return "missing";
    case FindingKind::unknown: return "unknown";
    case FindingKind::mismatch: return "mismatch";
    case FindingKind::unplaced: return "unplaced";
    case FindingKind::derived: return "derived";
    case FindingKind::dead: return "dead";
    case FindingKind::clipped: return "clipped";
  }
  return "";
}

LintReport lint_encodings(const Graph& graph, const std::vector<QuantSite>& sites, const EncodingSet& encodings,
                          std::span<const NamedStatistics> statistics, EncodingVersion version) {
  return Linter(graph, sites, encodings, version).run(statistics);
}

}  // namespace tare
