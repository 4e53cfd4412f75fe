#include "tare/session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "export/derived_encodings.hpp"
#include "plan/fuse.hpp"
#include "plan/quantized_graph.hpp"
#include "plan/simplify.hpp"
#include "run/batch_runs.hpp"
#include "run/calibration.hpp"
#include "run/cores.hpp"
#include "run/executor.hpp"
#include "run/fingerprint.hpp"
#include "run/quantize_hook.hpp"
#include "tare/export.hpp"

namespace tare {
namespace {

std::unique_ptr<Backend> make_backend(const SessionOptions& options) {
  if (options.device == "auto" || options.device == "cpu") return make_cpu_backend(options.cpu);
  throw Error(ErrorKind::usage,
              fmt::format("SessionOptions::device: '{}' is neither auto nor cpu; for a GPU hand the Session what "
                          "make_cuda_backend() of tare/cuda.hpp gives",
                          options.device));
}

}  // namespace

struct Session::Implementation {
  SessionOptions options;
  std::unique_ptr<Backend> backend;
  Model model;
  EncodingSet held;
  std::vector<std::string> kept;
  std::optional<Executor> float_executor;
  std::optional<Executor> simulated_executor;
  std::vector<TensorEncodings> simulated_sites;
  std::vector<std::int32_t> simulated_site_of_value;

  Implementation(const std::filesystem::path& path, std::unique_ptr<Backend> device, const SessionOptions& o)
      : options(o), backend(std::move(device)), model(load_model(path)) {
    if (options.cpu.threads <= 0) options.cpu.threads = usable_cores();
    if (options.take_quantizers) {
      UnquantizedModel parts = take_quantizers(model);
      model = std::move(parts.model);
      held = std::move(parts.encodings);
      kept = std::move(parts.kept);
    }
    naming_model([&] {
      drop_dead_that_cannot_run(model.graph, *backend);
      check_supported(model.graph, *backend);
      check_sound(model.graph);
    });
  }

  /// Puts the model's file before what is wrong with the model.
  template <class Check>
  void naming_model(const Check& check) const {
    try {
      check();
    } catch (const Error& error) {
      throw Error(error.kind(), fmt::format("{}: {}", model.path.string(), error.what()));
    }
  }

  Executor& float_run() {
    if (!float_executor) {
      const std::vector<bool> nothing_visible(model.graph.values.size(), false);
      float_executor.emplace(make_runnable(model.graph, nothing_visible, *backend), *backend,
                             std::vector<std::int32_t>(), options.stop);
    }
    return *float_executor;
  }

  Executor& simulated_run() {
    if (!simulated_executor) throw Error(ErrorKind::usage, "simulate: call set_encodings first");
    return *simulated_executor;
  }

  std::unique_ptr<Calibration::Implementation> start(const CalibrationOptions& calibration) {
    CalibrationOptions complete = calibration;
    if (!held.tensors.empty() && !calibration.recalibrate) add_held(complete);
    float_executor.reset();  // its packed weights would lie beside those of the run that is observed
    auto started = std::make_unique<Calibration::Implementation>(model.graph, *backend, std::move(complete),
                                                                 options.rounding, options.cpu.threads, options.stop);
    started->kept_quantizers = kept;
    return started;
  }

  /// The model's own quantizers, and no others; given encodings go before them.
  void add_held(CalibrationOptions& calibration) const {
    if (!calibration.given) calibration.given.emplace();
    GivenEncodings& given = *calibration.given;
    if (given.parameters_only)
      std::erase_if(given.set.tensors, [](const TensorEncodings& t) { return t.role != SiteRole::parameter; });
    given.parameters_only = false;
    given.only_quantizers = true;
    for (const TensorEncodings& tensor : held.tensors)
      if (std::none_of(given.set.tensors.begin(), given.set.tensors.end(),
                       [&](const TensorEncodings& t) { return t.tensor == tensor.tensor; }))
        given.set.tensors.push_back(tensor);
  }

  Fingerprint fingerprint(const CalibrationOptions& calibration, const EncodingSet& parameters) const {
    Fingerprint result;
    result.tare_version = library_version();
    result.model = hash_of_model(model);
    result.weight_encodings = hash_of_encodings(parameters);
    result.float_weights = !calibration.observe_quantized_weights;
    return result;
  }

  /// Most often the weights differ because their scheme follows that of the activations: then the one that they had is
  /// named, found by trying.
  void require_weights(const std::string& stored, const std::string& current, CalibrationOptions calibration,
                       std::string_view file) {
    if (stored == current) return;
    for (const Scheme scheme : {Scheme::sqnr, Scheme::mse, Scheme::min_max, Scheme::tf_enhanced}) {
      calibration.parameter_scheme = scheme;
      if (hash_of_encodings(start(calibration)->parameters) != stored) continue;
      throw Error(
          ErrorKind::usage,
          fmt::format("{} were observed behind weights of the scheme {}: add --param-scheme {}, with which they "
                      "serve any --scheme of {}; or calibrate again (--observe-weights float: they serve all "
                      "schemes of weights)",
                      file.empty() ? "the statistics" : fmt::format("statistics '{}'", file), name_of(scheme),
                      name_of(scheme), saved_schemes));
    }
  }
};

Session::Session(const std::filesystem::path& model, const SessionOptions& options)
    : Session(model, make_backend(options), options) {}
Session::Session(const std::filesystem::path& model, std::unique_ptr<Backend> backend, const SessionOptions& options)
    : implementation_(std::make_unique<Implementation>(model, std::move(backend), options)) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

const Model& Session::model() const { return implementation_->model; }
const Graph& Session::graph() const { return implementation_->model.graph; }
const EncodingSet& Session::held_encodings() const { return implementation_->held; }
const std::vector<std::string>& Session::kept_quantizers() const { return implementation_->kept; }
Backend& Session::backend() { return *implementation_->backend; }

std::vector<std::string> Session::fallbacks() const {
  return list_fallbacks(implementation_->model.graph, *implementation_->backend);
}

void Session::prepare() {
  implementation_->naming_model([&] { implementation_->float_run(); });
}

std::vector<Tensor> Session::run(std::span<const Tensor> inputs) { return implementation_->float_run().run(inputs); }

Calibration Session::start_calibration(const CalibrationOptions& options) {
  return Calibration(implementation_->start(options));
}

CalibrationResult Session::calibrate(Dataset& data, const CalibrationOptions& options) {
  const auto calibration = implementation_->start(options);
  const std::size_t passes = options.refine ? 2 : 1;
  std::string grouping;
  const auto next = [&] {
    try {
      return data.next();
    } catch (...) {
      calibration->wait();  // for what is wrong with an earlier batch
      throw;
    }
  };
  for (std::size_t pass = 0; pass < passes; ++pass) {
    data.rewind();
    std::size_t done = 0;
    while (std::optional<Batch> batch = next()) {
      if (options.progress && !options.progress(done + pass * data.samples(), data.samples() * passes))
        throw Error(ErrorKind::interrupted, "interrupted: nothing was written");
      if (done == 0) grouping = fmt::format("{} samples a batch", batch->samples);
      done += batch->samples;
      calibration->add({std::move(batch->inputs), batch->first_sample, batch->samples}, true);
    }
    calibration->wait();
    if (options.progress) options.progress((pass + 1) * data.samples(), data.samples() * passes);
    if (pass + 1 < passes) calibration->start_refinement();
  }
  CalibrationResult result = calibration->finish();
  if (options.keep_histograms) {
    result.statistics.fingerprint = implementation_->fingerprint(options, calibration->parameters);
    result.statistics.fingerprint.data = fmt::format("{:016x}", data.fingerprint());
    if (const Shard shard = data.shard(); shard.count > 1)
      result.statistics.fingerprint.data += fmt::format("#{}/{}", shard.index, shard.count);
    result.statistics.fingerprint.batch_grouping = grouping;
  }
  return result;
}

CalibrationResult Session::calibrate(const CalibrationOptions& options) { return start_calibration(options).finish(); }

CalibrationResult Session::calibrate_from(const StatisticsFile& statistics, const CalibrationOptions& options,
                                          std::string_view file) {
  if (options.search.scheme == Scheme::tf_enhanced)
    throw Error(ErrorKind::usage,
                fmt::format("tf_enhanced depends on the user's batches in their order: it cannot start from saved "
                            "statistics, which serve {}; use one of these, or calibrate on the data",
                            saved_schemes));
  if (options.refine) throw Error(ErrorKind::usage, "--refine needs the data: it cannot start from saved statistics");
  require_all_shards(statistics.fingerprint, file);
  const auto calibration = implementation_->start(options);
  Fingerprint current = implementation_->fingerprint(options, calibration->parameters);
  current.float_weights = statistics.fingerprint.float_weights;
  current.data = statistics.fingerprint.data;
  current.batch_grouping = statistics.fingerprint.batch_grouping;
  if (!current.float_weights && current.model == statistics.fingerprint.model)
    implementation_->require_weights(statistics.fingerprint.weight_encodings, current.weight_encodings, options, file);
  require_same_origin(statistics.fingerprint, current, file);
  calibration->use(statistics);
  CalibrationResult result = calibration->finish();
  result.statistics.fingerprint = statistics.fingerprint;
  return result;
}

void Session::set_encodings(const EncodingSet& encodings) {
  Implementation& self = *implementation_;
  QuantizedGraph quantized = make_simulated(self.model.graph, without_repeated(encodings, self.model.graph),
                                            *self.backend, self.options.rounding);
  self.simulated_executor.emplace(std::move(quantized.graph), *self.backend, quantized.site_of_value,
                                  self.options.stop);
  self.simulated_sites = std::move(quantized.sites);
  self.simulated_site_of_value = std::move(quantized.site_of_value);
}

std::vector<Tensor> Session::simulate(std::span<const Tensor> inputs) {
  Implementation& self = *implementation_;
  QuantizeHook hook(*self.backend, self.simulated_sites, self.options.rounding);
  return self.simulated_run().run(inputs, &hook);
}

BatchRuns Session::start_runs(RunChoice choice, BatchRuns::Receiver receiver) {
  Implementation& self = *implementation_;
  RunModels models;
  models.rounding = self.options.rounding;
  models.stop = self.options.stop;
  if (choice.exact) models.exact = &self.float_run();
  if (choice.simulated) {
    models.simulated = &self.simulated_run();
    models.site_of_value = &self.simulated_site_of_value;
    models.sites = &self.simulated_sites;
  }
  return BatchRuns(std::make_unique<BatchRuns::Implementation>(models, *self.backend, self.options.cpu.threads,
                                                               std::move(receiver)));
}

}  // namespace tare
