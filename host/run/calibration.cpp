// Calibration, as the list it is: place quantizers, quantize the weights, observe the activations behind them, search.
// Data comes batch by batch; what is kept of it are statistics, so memory does not grow with the number of samples.
// Odd: constants that are read as activations are observed once and counted once a sample, as if they had been fed.
// AIMET's tied quantizers are one object that every tied tensor updates in the order of execution: `tf_enhanced`, which
// depends on order, has one observer slot a group and sees constants with every batch.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "calib/encoding.hpp"
#include "calib/parallel_sites.hpp"
#include "calib/weight_scales.hpp"
#include "plan/batch_norms.hpp"
#include "plan/depth_first.hpp"
#include "plan/fuse.hpp"
#include "plan/quantized_graph.hpp"
#include "run/calibration.hpp"
#include "run/executor.hpp"
#include "run/nonfinite.hpp"
#include "tare/numerics.hpp"

namespace tare {
Calibration::Implementation::Implementation(const Graph& g, Backend& b, CalibrationOptions o, Rounding r, int t,
                                            const std::atomic<bool>* s)
    : graph(g),
      backend(b),
      options(std::move(o)),
      rounding(r),
      threads(t),
      stop(s),
      start(std::chrono::steady_clock::now()) {
  place_sites();
  check_schemes();
  find_parameters();

  EncodingSet weights;
  if (options.observe_quantized_weights) weights = parameters;
  QuantizedGraph quantized = quantize_constants(graph, weights, backend, rounding);
  for (std::size_t i = 0; i < sites.size(); ++i) {
    if (!sites[i].enabled || sites[i].role != SiteRole::activation || is_given(sites[i])) continue;
    if (sites[i].spec.format == NumberFormat::float16) continue;  // its grid does not depend on the data
    if (graph.constant(sites[i].value) == nullptr)
      quantized.site_of_value[static_cast<std::size_t>(sites[i].value)] = static_cast<std::int32_t>(observed.size());
    observed.push_back(i);
  }
  assign_groups();
  prepared = std::move(quantized);
  if (shared_slots()) order_as_aimet();
  derived.emplace(prepared.graph, prepared.visible(), observer_kind(), options.read_every_tensor);
  describe_sites();
  whole.emplace(watched, backend);
  if (!shared_slots()) whole->observe_constants();
  takes_lanes = !shared_slots() && threads > 1 && fits_lanes(prepared.graph);
}

/// Tied constants and inputs are observed where AIMET's quantizers of them run, among the others of their group.
void Calibration::Implementation::order_as_aimet() {
  std::vector<std::size_t> moved;
  std::vector<ValueId> sources;
  const std::vector<std::int32_t> producer = producers(prepared.graph);
  for (std::size_t i = 0; i < observed.size(); ++i) {
    const ValueId value = sites[observed[i]].value;
    if (groups[group_of[i]].members.size() < 2 || producer[static_cast<std::size_t>(value)] >= 0) continue;
    moved.push_back(i);
    sources.push_back(value);
  }
  in_order.resize(observed.size(), false);
  const std::vector<ValueId> handed_over = order_depth_first(prepared.graph, sources);
  prepared.site_of_value.resize(prepared.graph.values.size(), -1);
  for (std::size_t s = 0; s < moved.size(); ++s) {
    in_order[moved[s]] = true;
    prepared.site_of_value[static_cast<std::size_t>(sources[s])] = -1;
    prepared.site_of_value[static_cast<std::size_t>(handed_over[s])] = static_cast<std::int32_t>(moved[s]);
  }
}

void Calibration::Implementation::describe_sites() {
  for (std::size_t i = 0; i < observed.size(); ++i) {
    const QuantSite& site = sites[observed[i]];
    watched.sites.push_back({site.tensor, slot(i), derived->reading(site.value) == DerivedStatistics::Reading::extremes,
                             graph.constant(site.value), shared_slots() && in_order[i]});
  }
  watched.slots = shared_slots() ? groups.size() : observed.size();
  watched.kind = observer_kind();
  watched.constants_with_every_batch = shared_slots();
  watched.checked = options.nonfinite == NonfinitePolicy::error;
  watched.make_executor = [this](Backend& on) { return make_executor(on); };
}

void Calibration::Implementation::place_sites() {
  Config config = load_config(options.config);
  sites = place(graph, config, options.types);
  supergroup_passes = std::move(config.supergroup_passes);
  select_sites(sites, graph, options.selection);
  apply_overrides(sites, graph, options.overrides);
  if (options.given) given = adopt_encodings(sites, graph, *options.given);
}

/// One observer serves all sites, so that their schemes must go together.
void Calibration::Implementation::check_schemes() const {
  const bool aimets = options.search.scheme == Scheme::tf_enhanced;
  if (aimets && options.keep_histograms)
    throw Error(ErrorKind::usage,
                fmt::format("tf_enhanced depends on the user's batches in their order: its statistics cannot be saved "
                            "or merged; use {}",
                            saved_schemes));
  for (const QuantSite& site : sites) {
    if (!site.enabled || site.role != SiteRole::activation || !site.spec.scheme) continue;
    if (!aimets && site.spec.scheme == Scheme::tf_enhanced)
      throw Error(ErrorKind::usage,
                  fmt::format("'{}': tf_enhanced needs AIMET's own histogram, which only a whole run of that scheme "
                              "keeps; single tensors take {}",
                              site.tensor, saved_schemes));
    if (aimets && site.spec.scheme != Scheme::tf_enhanced && site.spec.scheme != Scheme::min_max)
      throw Error(ErrorKind::usage,
                  fmt::format("'{}': a run of tf_enhanced keeps no histogram for other schemes; only min_max goes with "
                              "it",
                              site.tensor));
  }
}

/// Made with the first batch: a search on saved statistics needs none. Refining reads every value.
const Calibration::Implementation::Runnable& Calibration::Implementation::runnable() {
  if (runnable_graph) return *runnable_graph;
  std::vector<std::int32_t> site_of_value = prepared.site_of_value;
  std::vector<bool> visible;
  for (std::size_t v = 0; v < site_of_value.size(); ++v) {
    if (!refining && derived->reading(static_cast<ValueId>(v)) == DerivedStatistics::Reading::nothing)
      site_of_value[v] = -1;
    visible.push_back(site_of_value[v] >= 0);
  }
  // Chains run their nodes earlier than the graph has them, which `tf_enhanced` would see.
  Graph ready = make_runnable(prepared.graph, visible, backend, shared_slots() ? Visible::replaced : Visible::observed);
  return runnable_graph.emplace(Runnable{std::move(ready), std::move(site_of_value)});
}

Executor Calibration::Implementation::make_executor(Backend& on) {
  const Runnable& made = runnable();
  return Executor(made.graph, on, made.site_of_value, stop);
}

ObserverKind Calibration::Implementation::observer_kind() const {
  if (options.search.scheme == Scheme::tf_enhanced) return ObserverKind::tf_enhanced;
  const bool extremes_only =
      !options.keep_histograms && std::all_of(observed.begin(), observed.end(), [&](std::size_t s) {
        return sites[s].spec.scheme.value_or(options.search.scheme) == Scheme::min_max;
      });
  return extremes_only ? ObserverKind::min_max : ObserverKind::histogram;
}

/// The weights are searched on their own data. Percentile and entropy are made for activations: weights keep their
/// range.
void Calibration::Implementation::find_parameters() {
  SearchOptions search = options.search;
  search.scheme = options.parameter_scheme.value_or(search.scheme);
  if (search.scheme == Scheme::percentile || search.scheme == Scheme::entropy) search.scheme = Scheme::min_max;
  std::vector<const QuantSite*> wanted;
  for (const QuantSite& site : sites)
    if (site.enabled && site.role == SiteRole::parameter && !is_given(site)) wanted.push_back(&site);
  parameters.tensors.resize(wanted.size());
  parallel_sites(wanted.size(), threads, [&](std::size_t i) {
    const QuantSite& site = *wanted[i];
    const Tensor& weights = *graph.constant(site.value);
    if (const auto bad = options.nonfinite == NonfinitePolicy::error ? first_nonfinite(weights) : std::nullopt)
      throw Error(ErrorKind::model, fmt::format("weight '{}' of shape {} holds NaN or infinity at element {}; mend the "
                                                "model, or use --nonfinite skip",
                                                site.tensor, weights.shape().text(), *bad));
    parameters.tensors[i] = find_parameter_encodings(site.tensor, weights, site.spec, search);
    parameters.tensors[i].role = SiteRole::parameter;
  });
  for (const TensorEncodings& tensor : given.set.tensors)
    if (tensor.role == SiteRole::parameter) parameters.tensors.push_back(tensor);
  parameters.sort();
}

void Calibration::Implementation::require_open() const {
  if (failure) std::rethrow_exception(failure);
  if (finished)
    throw Error(ErrorKind::usage,
                "this calibration is finished and its result handed out; begin another one with "
                "Session::start_calibration");
}

void Calibration::Implementation::add(Batch batch, bool keeps_inputs) {
  require_open();
  if (batch.samples == 0)
    batch.samples = !batch.inputs.empty() && batch.inputs[0].rank() > 0
                        ? static_cast<std::size_t>(batch.inputs[0].shape()[0])
                        : std::size_t{1};
  if (refining) {
    if (accumulators.empty()) return;  // no range depends on the data
    ObserveHook hook(
        [&](std::size_t i, const Tensor& value) { accumulators[group_of[i]]->add(backend.download(value)); });
    ending_if_it_fails([&] {
      if (!measuring) measuring.emplace(make_executor(backend));
      measuring->run(batch.inputs, &hook);
    });
    return;
  }
  const std::size_t count = batch.samples;
  if (options.nonfinite == NonfinitePolicy::error) {
    std::vector<Tensor> on_host = batch.inputs;  // observers look at the others
    for (Tensor& input : on_host)
      if (!backend.is_on_host(input)) input = Tensor();
    try {
      refuse_nonfinite_inputs(graph, on_host, batch.first_sample, count);
    } catch (...) {
      wait();  // for what is wrong with an earlier batch
      throw;
    }
  }
  if (takes_lanes && fits_lane(batch) && (lane_threads || make_lanes())) {
    if (!keeps_inputs) copy_inputs(batch);
    lane_threads->give([this, given = std::move(batch)](std::size_t l) { run_of(lanes[l]).add(given); });
  } else {
    wait();
    ending_if_it_fails([&] { whole->add(batch); });
  }
  samples += count;
  ++batches;
}

bool Calibration::Implementation::make_lanes() {
  runnable();  // before several threads ask for it
  for (std::unique_ptr<Backend>& own : lane_backends(backend, threads)) lanes.push_back({std::move(own), nullptr});
  takes_lanes = !lanes.empty();
  if (takes_lanes) lane_threads.emplace(lanes.size());
  return takes_lanes;
}

ObservedRun& Calibration::Implementation::run_of(Lane& lane) const {
  if (!lane.run) lane.run = std::make_unique<ObservedRun>(watched, *lane.backend);
  return *lane.run;
}

/// Whoever pushes a batch may write over it once it is given.
void Calibration::Implementation::copy_inputs(Batch& batch) {
  for (Tensor& input : batch.inputs) {
    Tensor copy = backend.allocate(input.type(), input.shape(), input.layout());
    std::copy_n(input.data(), input.bytes(), copy.mutable_data());
    input = std::move(copy);
  }
}

void Calibration::Implementation::wait() {
  if (failure) std::rethrow_exception(failure);
  if (lane_threads) lane_threads->wait();
}

void Calibration::Implementation::start_refinement() {
  require_open();
  if (refining) throw Error(ErrorKind::usage, "the refinement of this calibration has begun already");
  close_statistics();
  accumulators.resize(groups.size());
  ending_if_it_fails([&] {
    parallel_sites(groups.size(), threads,
                   [&](std::size_t g) { accumulators[g].emplace(*groups[g].statistics, spec_of(g), options.search); });
  });
  for (std::size_t i = 0; i < observed.size(); ++i)
    if (const Tensor* constant = graph.constant(sites[observed[i]].value))
      accumulators[group_of[i]]->add(*constant, static_cast<double>(samples));
  refining = true;
}

/// A constant that shares its range with nobody is here in full: like a weight, it is searched on its own values.
bool Calibration::Implementation::is_searched_in_full(std::size_t g) const {
  const QuantSite& site = sites[observed[groups[g].members[0]]];
  const Scheme scheme = site.spec.scheme.value_or(options.search.scheme);
  return graph.constant(site.value) != nullptr && groups[g].members.size() == 1 &&
         groups[g].statistics->min > highest_sentinel && (scheme == Scheme::sqnr || scheme == Scheme::mse);
}

std::vector<Encoding> Calibration::Implementation::search() const {
  std::vector<Encoding> found(groups.size());
  std::vector<std::size_t> in_full, by_statistics;
  std::vector<SearchRequest> requests;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    if (is_searched_in_full(g)) {
      in_full.push_back(g);
    } else if (refining) {
      found[g] = accumulators[g]->best();
    } else {
      by_statistics.push_back(g);
      requests.push_back({groups[g].statistics, spec_of(g)});
    }
  }
  const std::vector<Encoding> best = backend.find_encodings(requests, options.search, threads);
  for (std::size_t i = 0; i < best.size(); ++i) found[by_statistics[i]] = best[i];
  parallel_sites(in_full.size(), threads, [&](std::size_t i) {
    const QuantSite& site = sites[observed[groups[in_full[i]].members[0]]];
    found[in_full[i]] =
        find_parameter_encodings(site.tensor, *graph.constant(site.value), site.spec, options.search).encodings.at(0);
  });
  return found;
}

CalibrationResult Calibration::Implementation::finish() {
  require_open();
  close_statistics();
  std::vector<Encoding> found;
  ending_if_it_fails([&] { found = search(); });
  finished = true;
  CalibrationResult result;
  for (std::size_t i = 0; i < observed.size(); ++i) {
    const QuantSite& site = sites[observed[i]];
    result.encodings.tensors.push_back({site.tensor, SiteRole::activation, site.spec, {found[group_of[i]]}});
  }
  for (const QuantSite& site : sites)
    if (site.enabled && site.role == SiteRole::activation && site.spec.format == NumberFormat::float16 &&
        !is_given(site))
      result.encodings.tensors.push_back({site.tensor, SiteRole::activation, site.spec, {}});
  for (const TensorEncodings& tensor : given.set.tensors)
    if (tensor.role == SiteRole::activation) result.encodings.tensors.push_back(tensor);
  result.encodings.tensors.insert(result.encodings.tensors.end(), parameters.tensors.begin(), parameters.tensors.end());
  result.encodings.sort();
  const std::vector<std::string> overflowing =
      raise_weight_scales(graph, sites, supergroup_passes, result.encodings, given.set);
  result.statistics = std::move(kept);
  result.statistics.samples = samples;
  result.given = given.set.tensors.size();
  result.mismatches = std::move(given.mismatches);
  result.warnings = warnings();
  for (const std::string& tensor : overflowing)
    result.warnings.push_back(
        fmt::format("'{}': its given scale is so fine that 32-bit sums of hardware overflow; kept", tensor));
  measuring.reset();
  derived.reset();  // what follows, such as an export, has the memory of the run to itself
  prepared = {};
  backend.trim();
  result.sites = std::move(sites);
  result.samples = samples;
  result.batches = batches;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

/// What became of values that only mark something.
void Calibration::Implementation::warn_of_sentinels(std::size_t i, const std::optional<Sentinels>& clamped,
                                                    std::vector<std::string>& lines) const {
  const TensorStatistics& values = *statistics[i];
  const std::string& name = sites[observed[i]].tensor;
  const std::string taken = clamped ? fmt::format("taken for {:.6g}", clamped->floor) : std::string();
  if (const auto sentinels = find_sentinels(values))
    lines.push_back(fmt::format("'{}': {} values down to {:g} only mark something; {}", name, sentinels->count,
                                sentinels->min, clamped ? taken : "they set the range"));
  else if (values.min <= values.max && values.max <= highest_sentinel)
    lines.push_back(fmt::format("'{}': all {} values (down to {:g}) only mark something; {}", name, values.count,
                                values.min, clamped ? taken : "the range keeps them"));
  else if (calib::only_masks(values))
    lines.push_back(
        fmt::format("'{}': all {} values are -inf or NaN, and only mark something; kept", name, values.count));
}

/// What is not finite, but for the -inf that warn_of_sentinels() speaks of. Constants may hold it where data may not.
void Calibration::Implementation::warn_of_nonfinite(std::size_t i, const std::optional<Sentinels>& clamped,
                                                    std::vector<std::string>& lines) const {
  const TensorStatistics& values = *statistics[i];
  const QuantSite& site = sites[observed[i]];
  if (options.nonfinite == NonfinitePolicy::error && graph.constant(site.value) != nullptr) return;
  if (calib::only_masks(values)) return;
  const bool set_range =
      site.spec.scheme.value_or(options.search.scheme) == Scheme::min_max || site.spec.format != NumberFormat::integer;
  const std::uint64_t infinite = values.positive_infinity_count + (clamped ? 0 : values.negative_infinity_count);
  if (set_range && infinite > 0)
    lines.push_back(
        fmt::format("'{}': {} of {} values are infinite, which counts as the largest float; they set the "
                    "range",
                    site.tensor, infinite, values.count));
  const std::uint64_t left_out = values.nan_count + (set_range ? 0 : infinite);
  if (left_out > 0)
    lines.push_back(fmt::format("'{}': {} of {} values are NaN or infinite; left out{}", site.tensor, left_out,
                                values.count, values.min <= values.max ? "" : ", so that no range is known"));
}

std::vector<std::string> Calibration::Implementation::warnings() const {
  std::vector<std::string> lines = kept_quantizers;
  if (const std::vector<std::string> norms = unfolded_batch_norms(graph, sites); !norms.empty())
    lines.push_back(
        fmt::format("{} BatchNormalizations (the first: '{}') could be folded into the operators in front of them: "
                    "most converters do, and then have weights and tensors that were not calibrated; fold them first "
                    "(docs/aimet.md)",
                    norms.size(), norms[0]));
  for (std::size_t i = 0; i < observed.size(); ++i) {
    const std::string& name = sites[observed[i]].tensor;
    const std::size_t group = group_of[i];  // the search takes the values of all that share a range as one
    const auto clamped = calib::clamped_sentinels(*groups[group].statistics, spec_of(group), options.search);
    warn_of_sentinels(i, clamped, lines);
    warn_of_nonfinite(i, clamped, lines);
    const auto& histogram = statistics[i]->tf_enhanced;
    if (histogram && static_cast<double>(histogram->lost) > 1e-4 * static_cast<double>(statistics[i]->count))
      lines.push_back(fmt::format("'{}': tf_enhanced lost {} of {} values outside the window of the first batch", name,
                                  histogram->lost, statistics[i]->count));
  }
  return lines;
}

Calibration::Calibration(std::unique_ptr<Implementation> implementation) : implementation_(std::move(implementation)) {}
Calibration::~Calibration() = default;
Calibration::Calibration(Calibration&&) noexcept = default;
Calibration& Calibration::operator=(Calibration&&) noexcept = default;
void Calibration::add(std::span<const Tensor> inputs, std::size_t samples) {
  implementation_->add({{inputs.begin(), inputs.end()}, implementation_->samples, samples}, false);
}
void Calibration::wait() { implementation_->wait(); }
void Calibration::start_refinement() { implementation_->start_refinement(); }
CalibrationResult Calibration::finish() { return implementation_->finish(); }

}  // namespace tare
