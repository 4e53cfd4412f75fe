#include "cli/benchmark.hpp"

#include <algorithm>
#include <chrono>
#include <functional>
#include <iterator>

namespace tare::cli {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// For tensors as wholes, so that kernels do not count by themselves.
class TimedObserver final : public Observer {
 public:
  TimedObserver(std::unique_ptr<Observer> inner, Backend& backend, ObserverClock& clock)
      : inner_(std::move(inner)), backend_(backend), clock_(clock) {}
  void observe(std::size_t site, const Tensor& tensor) override {
    backend_.synchronize();
    const auto start = Clock::now();
    inner_->observe(site, tensor);
    backend_.synchronize();
    clock_.seconds += milliseconds_since(start) / 1e3;
    clock_.elements += static_cast<std::uint64_t>(tensor.elements());
    clock_.bytes += tensor.bytes();
  }
  std::uint64_t unusable_count() const override { return inner_->unusable_count(); }
  std::uint64_t end_batch() override { return inner_->end_batch(); }
  bool runs_behind() const override { return inner_->runs_behind(); }
  void flush() override { inner_->flush(); }
  std::vector<TensorStatistics> collect() const override { return inner_->collect(); }

 private:
  std::unique_ptr<Observer> inner_;
  Backend& backend_;
  ObserverClock& clock_;
};

/// A backend as it is, but for observers that are made while the clock runs.
class TimedBackend final : public Backend {
 public:
  TimedBackend(std::unique_ptr<Backend> inner, ObserverClock& clock) : inner_(std::move(inner)), clock_(clock) {}
  std::string name() const override { return inner_->name(); }
  Tensor allocate(DataType type, const Shape& shape, Layout layout) override {
    return inner_->allocate(type, shape, layout);
  }
  Tensor upload(const Tensor& host) override { return inner_->upload(host); }
  Tensor download(const Tensor& tensor) override { return inner_->download(tensor); }
  Tensor to_plain(const Tensor& tensor) override { return inner_->to_plain(tensor); }
  bool is_on_host(const Tensor& tensor) const override { return inner_->is_on_host(tensor); }
  std::string unsupported(const Graph& graph, const Node& node) const override {
    return inner_->unsupported(graph, node);
  }
  std::string fallback(const Graph& graph, const Node& node) const override { return inner_->fallback(graph, node); }
  std::unique_ptr<Kernel> compile(const Graph& graph, const Node& node,
                                  std::span<const Tensor* const> constants) override {
    return inner_->compile(graph, node, constants);
  }
  Tensor quantize_dequantize(Tensor tensor, const TensorEncodings& encodings, Rounding rounding) override {
    return inner_->quantize_dequantize(std::move(tensor), encodings, rounding);
  }
  QuantizeGradient quantize_gradient(const Tensor& input, const Tensor& gradient, const TensorEncodings& encodings,
                                     Rounding rounding) override {
    return inner_->quantize_gradient(input, gradient, encodings, rounding);
  }
  std::unique_ptr<Observer> make_observer(ObserverKind kind, std::size_t sites) override {
    std::unique_ptr<Observer> made = inner_->make_observer(kind, sites);
    if (!clock_.running) return made;
    return std::make_unique<TimedObserver>(std::move(made), *inner_, clock_);
  }
  std::unique_ptr<Repeater> make_repeater() override { return inner_->make_repeater(); }
  std::unique_ptr<Backend> make_lane() const override { return clock_.running ? nullptr : inner_->make_lane(); }
  void synchronize() override { inner_->synchronize(); }
  void trim() override { inner_->trim(); }
  bool joins(DataType type) const override { return inner_->joins(type); }
  bool chains_take_taps() const override { return inner_->chains_take_taps(); }
  bool chains_broadcast() const override { return inner_->chains_broadcast(); }
  bool chains_take_rows() const override { return inner_->chains_take_rows(); }
  std::vector<Encoding> find_encodings(std::span<const SearchRequest> requests, const SearchOptions& options,
                                       int threads) override {
    return inner_->find_encodings(requests, options, threads);
  }

 private:
  std::unique_ptr<Backend> inner_;
  ObserverClock& clock_;
};

/// Of repetitions that took `batches` batches each.
BatchTime summary(std::vector<double> milliseconds, std::size_t batches) {
  std::sort(milliseconds.begin(), milliseconds.end());
  const std::size_t middle = milliseconds.size() / 2;
  const double median =
      milliseconds.size() % 2 == 1 ? milliseconds[middle] : (milliseconds[middle - 1] + milliseconds[middle]) / 2;
  const auto count = static_cast<double>(batches);
  return {median / count, milliseconds.front() / count};
}

}  // namespace

std::unique_ptr<Backend> ObserverClock::wrap(std::unique_ptr<Backend> backend) {
  return std::make_unique<TimedBackend>(std::move(backend), *this);
}

void ObserverClock::start() {
  running = true;
  elements = bytes = 0;
  seconds = 0;
}

BenchmarkResult run_benchmark(Session& session, ObserverClock& clock, std::span<const Batch> batches,
                              const BenchmarkOptions& options) {
  if (batches.empty()) throw Error(ErrorKind::data, "the data holds no samples");
  BenchmarkResult result;
  for (const Batch& batch : batches) result.samples += batch.samples;
  std::size_t done = 0;
  const std::size_t total = result.samples * static_cast<std::size_t>(options.repetitions + 3);
  const auto advance = [&](const Batch& batch) {
    done += batch.samples;
    if (options.calibration.progress && !options.calibration.progress(done, total))
      throw Error(ErrorKind::interrupted, "interrupted: nothing was written");
  };
  CalibrationOptions again = options.calibration;  // with the weights' encodings, which take their time to find
  {
    Calibration first = session.start_calibration(options.calibration);
    for (const Batch& batch : batches) {
      first.add(batch.inputs, batch.samples);
      advance(batch);
    }
    const auto start = Clock::now();
    const CalibrationResult calibrated = first.finish();
    result.search_ms = milliseconds_since(start);
    result.quantizers = calibrated.encodings.tensors.size();
    session.set_encodings(calibrated.encodings);
    if (session.held_encodings().tensors.empty()) {
      again.given.emplace().set = calibrated.encodings;
      again.given->parameters_only = true;
    }
  }

  std::vector<double> plain, observe, simulate;
  {
    Calibration calibration = session.start_calibration(again);
    const auto begin = Clock::now();
    for (int repetition = -1; repetition < options.repetitions; ++repetition) {
      if (repetition > 0 && milliseconds_since(begin) > options.seconds * 1e3) break;
      const auto measure = [&](std::vector<double>& times, const auto& all_batches) {
        const auto start = Clock::now();
        all_batches();
        if (repetition >= 0) times.push_back(milliseconds_since(start));
      };
      measure(plain, [&] {
        for (const Batch& batch : batches) session.run(batch.inputs);
      });
      measure(observe, [&] {
        for (const Batch& batch : batches) calibration.add(batch.inputs, batch.samples);
        calibration.wait();
        session.backend().synchronize();  // devices run behind
      });
      measure(simulate, [&] {
        for (const Batch& batch : batches) session.simulate(batch.inputs);
      });
      for (const Batch& batch : batches) advance(batch);
    }
  }
  result.plain = summary(plain, batches.size());
  result.observe = summary(observe, batches.size());
  result.simulate = summary(simulate, batches.size());
  // Of neighbours in time, so that a machine that slows down in between does no harm.
  std::vector<double> observing;
  std::transform(observe.begin(), observe.end(), plain.begin(), std::back_inserter(observing), std::minus<>());
  result.observing_ms = summary(std::move(observing), batches.size()).median_ms;

  clock.start();
  Calibration timed = session.start_calibration(again);
  for (const bool warm : {false, true}) {
    if (warm) clock.start();
    for (const Batch& batch : batches) {
      timed.add(batch.inputs, batch.samples);
      if (warm) advance(batch);
    }
  }
  clock.stop();
  const auto count = static_cast<double>(batches.size());
  result.observed_elements = static_cast<double>(clock.elements) / count;
  result.observer_ms = clock.seconds * 1e3 / count;
  if (clock.bytes > 0) result.observer_gbs = static_cast<double>(clock.bytes) / clock.seconds / 1e9;
  return result;
}

}  // namespace tare::cli
