// Encodings that are known before the search. A file says more than a quantizer needs (32-bit biases, tensors on the
// grid of another) and less (axes): both are settled here. Odd: version 2.0.0 writes symmetric activations as unsigned
// ones with the zero point in the middle, and signed ones without a zero point, whether symmetric or not; on a
// quantizer of the other kind they are what they were.
#include "export/given_encodings.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_map>

#include "plan/ops.hpp"
#include "tare/error.hpp"
#include "tare/export.hpp"
#include "tare/overrides.hpp"

namespace tare {
namespace {

bool same_grids(const std::vector<Encoding>& a, const std::vector<Encoding>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Encoding& x, const Encoding& y) { return x.scale == y.scale && x.offset == y.offset; });
}

class Adopter {
 public:
  Adopter(std::vector<QuantSite>& sites, const Graph& graph, const GivenEncodings& given)
      : sites_(sites), graph_(graph), given_(given) {
    for (std::size_t v = 0; v < graph.values.size(); ++v)
      values_.emplace(graph.values[v].name, static_cast<ValueId>(v));
    for (std::size_t s = 0; s < sites.size(); ++s) site_of_.emplace(sites[s].value, s);
    for (const Op& op : collect_ops_of_all_passes(graph))
      for (const Parameter& parameter : op.parameters) positions_.emplace(parameter.value, parameter);
    adopted_.resize(sites.size());
  }

  AdoptedEncodings run() {
    std::vector<const TensorEncodings*> without_site;
    for (const TensorEncodings& tensor : given_.set.tensors) {
      const auto value = values_.find(tensor.tensor);
      if (value == values_.end()) {
        unknown_.push_back(tensor.tensor);
        continue;
      }
      if (is_wider_than_searched(tensor.spec)) continue;
      const auto site = site_of_.find(value->second);
      const bool parameter = site != site_of_.end() && sites_[site->second].role == SiteRole::parameter;
      if (given_.parameters_only && !parameter) continue;
      if (site != site_of_.end() && sites_[site->second].enabled)
        adopt(site->second, tensor);
      else
        without_site.push_back(&tensor);
    }
    if (!unknown_.empty()) fail("encodings name tensors that the model does not have", unknown_);
    adopt_groups();
    add_sites(without_site);
    if (given_.only_quantizers)
      disable_others();
    else
      list_missing();
    if (given_.strict && !mismatches_.empty()) fail("encodings do not fit the quantizers", mismatches_);
    AdoptedEncodings result;
    for (auto& tensor : adopted_)
      if (tensor) result.set.tensors.push_back(std::move(*tensor));
    result.mismatches = std::move(mismatches_);
    return result;
  }

 private:
  [[noreturn]] static void fail(std::string_view what, const std::vector<std::string>& lines) {
    const std::size_t shown = std::min<std::size_t>(lines.size(), 10);
    throw Error(ErrorKind::model,
                fmt::format("{} {}: {}{}", lines.size(), what,
                            fmt::join(lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(shown), "; "),
                            shown < lines.size() ? "; …" : ""));
  }

  /// The encodings as this site would have them, when only the file's way of writing them differs.
  void complete(TensorEncodings& tensor, const QuantSite& site) const {
    QuantizerSpec& spec = tensor.spec;
    tensor.role = site.role;
    if (spec.format != NumberFormat::integer) return;
    const Tensor* constant = graph_.constant(site.value);
    if (!spec.channel_axis && constant != nullptr) {
      std::optional<int> axis = site.spec.channel_axis;
      std::optional<int> block_axis = site.spec.block_axis;
      if (const auto it = positions_.find(site.value);
          it != positions_.end() && (tensor.encodings.size() > 1 || spec.block_size > 0)) {
        axis = it->second.channel_axis;
        block_axis = it->second.block_axis;
      }
      const bool one = axis && constant->shape()[static_cast<std::size_t>(*axis)] == 1;
      if (tensor.encodings.size() > 1 || one || spec.block_size > 0) spec.channel_axis = axis;
      if (spec.block_size > 0) spec.block_axis = block_axis;
    }
    const double middle = std::ldexp(1.0, spec.bitwidth - 1);
    const bool centred = std::all_of(tensor.encodings.begin(), tensor.encodings.end(), [&](const Encoding& e) {
      return e.offset == -middle || (site.spec.unsigned_symmetric && e.offset == 0);
    });
    if (site.spec.symmetric && !site.spec.strict_symmetric && !spec.symmetric && centred) spec.symmetric = true;
    if (!given_.tells_symmetry && site.role == SiteRole::activation && !site.spec.symmetric && centred)
      spec.symmetric = false;
    // A quantizer that may be unsigned is signed where the data is; one that may not never is unsigned.
    if (spec.symmetric && site.spec.symmetric && site.spec.unsigned_symmetric) spec.unsigned_symmetric = true;
    if (!spec.symmetric) {  // the flags mean nothing there
      spec.strict_symmetric = site.spec.strict_symmetric;
      spec.unsigned_symmetric = site.spec.unsigned_symmetric;
    }
  }

  void adopt(std::size_t s, TensorEncodings tensor) {
    QuantSite& site = sites_[s];
    complete(tensor, site);
    const std::string given = kind_text(tensor.spec);
    const std::string placed = kind_text(site.spec);
    if (!site.enabled)
      mismatches_.push_back(fmt::format("'{}': given {}, no quantizer here ({})", site.tensor, given,
                                        site.reason.empty() ? "disabled" : site.reason));
    else if (given != placed)
      mismatches_.push_back(fmt::format("'{}': given {}, placed {}", site.tensor, given, placed));
    const std::optional<Scheme> scheme = site.spec.scheme;
    site.enabled = true;
    site.spec = tensor.spec;
    site.spec.scheme = scheme;
    site.reason = "encodings given";
    adopted_[s] = std::move(tensor);
  }

  /// Members of a group that are not in the file share the range of one that is.
  void adopt_groups() {
    std::map<std::int32_t, std::size_t> leader;
    for (std::size_t s = 0; s < sites_.size(); ++s)
      if (adopted_[s] && sites_[s].group >= 0) leader.emplace(sites_[s].group, s);
    for (std::size_t s = 0; s < sites_.size(); ++s) {
      if (adopted_[s] || !sites_[s].enabled || sites_[s].group < 0) continue;
      const auto it = leader.find(sites_[s].group);
      if (it == leader.end()) continue;
      adopted_[s] = adopted_[it->second];
      adopted_[s]->tensor = sites_[s].tensor;
      sites_[s].spec = adopted_[s]->spec;
      sites_[s].reason = fmt::format("shares the given encodings of '{}'", sites_[it->second].tensor);
    }
  }

  /// Given encodings of tensors without an enabled quantizer: those that follow from others are nothing new. Makers
  /// come before readers, since what is new has followers, too.
  void add_sites(std::vector<const TensorEncodings*> tensors) {
    const std::vector<std::int32_t> makers = producers(graph_);
    std::stable_sort(tensors.begin(), tensors.end(), [&](const TensorEncodings* a, const TensorEncodings* b) {
      return makers[static_cast<std::size_t>(values_.at(a->tensor))] <
             makers[static_cast<std::size_t>(values_.at(b->tensor))];
    });
    EncodingSet derived;
    const auto follows = [&](const TensorEncodings& tensor) {
      const TensorEncodings* found = derived.find(tensor.tensor, SiteRole::activation);
      return found != nullptr && same_grids(found->encodings, tensor.encodings);
    };
    bool stale = true;
    for (const TensorEncodings* tensor : tensors) {
      if (follows(*tensor)) continue;
      if (stale) {
        derived.tensors.clear();
        for (const auto& known : adopted_)
          if (known) derived.tensors.push_back(*known);
        add_derived_encodings(derived, graph_);
        stale = false;
        if (follows(*tensor)) continue;
      }
      stale = true;
      const ValueId value = values_.at(tensor->tensor);
      auto site = site_of_.find(value);
      if (site == site_of_.end()) {
        QuantSite added;
        added.value = value;
        added.tensor = tensor->tensor;
        added.enabled = false;
        added.reason = "not a place for one";
        site = site_of_.emplace(value, sites_.size()).first;
        sites_.push_back(std::move(added));
        adopted_.emplace_back();
      }
      adopt(site->second, *tensor);
    }
  }

  /// Quantizers that the file leaves out: they are searched. A float16 needs no encoding, and 2.0.0 lists none.
  void list_missing() {
    for (std::size_t s = 0; s < sites_.size(); ++s) {
      const QuantSite& site = sites_[s];
      const bool asked = !given_.parameters_only || site.role == SiteRole::parameter;
      if (site.enabled && !adopted_[s] && asked && site.spec.format != NumberFormat::float16)
        mismatches_.push_back(fmt::format("'{}': none given, placed {}", site.tensor, kind_text(site.spec)));
    }
  }

  void disable_others() {
    for (std::size_t s = 0; s < sites_.size(); ++s) {
      if (adopted_[s] || !sites_[s].enabled) continue;
      sites_[s].enabled = false;
      sites_[s].reason = "no encodings given";
    }
  }

  std::vector<QuantSite>& sites_;
  const Graph& graph_;
  const GivenEncodings& given_;
  std::unordered_map<std::string, ValueId> values_;
  std::unordered_map<ValueId, std::size_t> site_of_;
  std::unordered_map<ValueId, Parameter> positions_;     ///< where its axes are, should a constant be a parameter
  std::vector<std::optional<TensorEncodings>> adopted_;  ///< by site
  std::vector<std::string> unknown_, mismatches_;
};

}  // namespace

std::string kind_text(const QuantizerSpec& spec) {
  switch (spec.format) {
    case NumberFormat::float16: return "float16";
    case NumberFormat::float8e4m3fn: return "float8e4m3fn";
    case NumberFormat::float8e5m2: return "float8e5m2";
    case NumberFormat::integer: break;
  }
  std::string scope = spec.channel_axis ? " per channel" : "";
  if (spec.block_size > 0) scope = fmt::format(" per block of {}", spec.block_size);
  if (spec.decompressed_bitwidth > 0)
    scope = fmt::format(" per low-power block of {}, widened to {} bits", spec.block_size, spec.decompressed_bitwidth);
  return fmt::format("{} bits {}symmetric{}{}{}", spec.bitwidth, spec.symmetric ? "" : "a",
                     spec.symmetric && spec.strict_symmetric ? " strict" : "",
                     spec.symmetric && spec.unsigned_symmetric ? " unsigned" : "", scope);
}

AdoptedEncodings adopt_encodings(std::vector<QuantSite>& sites, const Graph& graph, const GivenEncodings& given) {
  return Adopter(sites, graph, given).run();
}

}  // namespace tare
