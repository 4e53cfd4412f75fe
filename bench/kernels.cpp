// The kernels behind the Backend interface, on every backend of the build, over sizes, channels, bitwidths and
// distributions; on the CPU with one thread and with all. Google Benchmark runs them and takes its usual flags
// (--benchmark_filter, --benchmark_out). Beside its mean time every case has counters: `fastest_ms`, `GB/s` by that,
// and what share that is of reading or copying as many bytes with as many threads (`of_read`, `of_copy`), measured
// right before and after it. Cases that fit into a cache are compared with that cache.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <chrono>
#include <iostream>
#include <map>
#include <memory>

#include "bench/support/kernel_cases.hpp"
#include "calib/parallel_sites.hpp"
#include "cli/bandwidth.hpp"
#include "cli/waits.hpp"
#include "run/cores.hpp"
#include "support/backends.hpp"

namespace tare::bench {
namespace {

constexpr std::array<std::int64_t, 3> sizes = {1 << 18, 1 << 22, 1 << 26};  ///< of float32 elements: 1, 16, 256 MiB

struct Device {
  std::string name;
  std::shared_ptr<Backend> backend;
  int threads = 0;  ///< of the host; 0 on other devices, whose memory is not measured here
};

std::vector<Device> devices() {
  std::vector<Device> result;
  const int cores = usable_cores();
  for (const int threads : {1, cores}) {
    if (threads == 1 && !result.empty()) continue;
    CpuOptions options;
    options.threads = threads;
    result.push_back({fmt::format("cpu_{}", threads), make_cpu_backend(options), threads});
  }
  for (const test::NamedBackend& other : test::backends())
    if (other.name != "cpu" && other.missing.empty()) result.push_back({other.name, other.make(), 0});
  return result;
}

/// The latest of its kind is kept: cases that share it come one after the other.
cli::Bandwidth& bandwidth(std::size_t bytes, int threads) {
  static std::pair<std::size_t, int> key;
  static std::unique_ptr<cli::Bandwidth> kept;
  if (!kept || key != std::pair{bytes, threads}) {
    kept.reset();
    kept = std::make_unique<cli::Bandwidth>(bytes, threads);
    key = {bytes, threads};
  }
  return *kept;
}

const Tensor& input(const Device& device, Distribution distribution, const Shape& shape) {
  static std::map<Distribution, std::vector<float>> values;
  static Distribution kept_distribution;
  static const Backend* kept_backend = nullptr;
  static Tensor kept;
  if (kept_backend != device.backend.get() || kept_distribution != distribution || kept.shape() != shape) {
    std::vector<float>& period = values[distribution];
    if (period.empty()) period = values_of(distribution);
    kept = Tensor();
    Tensor host = Tensor::host(DataType::float32, shape);
    float* data = host.mutable_data<float>();
    for (std::int64_t i = 0; i < host.elements(); ++i) data[i] = period[static_cast<std::size_t>(i) % period.size()];
    kept = device.backend->upload(host);
    kept_backend = device.backend.get();
    kept_distribution = distribution;
  }
  return kept;
}

/// Runs the body as often as Google Benchmark likes; returns the fastest run in seconds.
template <class Body>
double fastest(benchmark::State& state, Backend& backend, Body&& body) {
  double best = 1e30;
  body();  // finds its memory
  backend.synchronize();
  for (auto iteration : state) {
    static_cast<void>(iteration);
    const auto start = std::chrono::steady_clock::now();
    body();
    backend.synchronize();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  state.counters["fastest_ms"] = best * 1e3;
  return best;
}

void qdq(benchmark::State& state, const Device& device, const QdqCase& c) {
  const Tensor& tensor = input(device, Distribution::normal, c.shape);
  const auto copy = [&] { return device.threads > 0 ? bandwidth(tensor.bytes(), device.threads).copy() : 0; };
  const double before = copy();
  const double seconds = fastest(state, *device.backend, [&] {
    benchmark::DoNotOptimize(device.backend->quantize_dequantize(tensor, c.encodings, Rounding::half_even));
  });
  const double speed = 2 * static_cast<double>(tensor.bytes()) / seconds / 1e9;
  state.counters["GB/s"] = speed;
  if (device.threads > 0) state.counters["of_copy"] = speed / std::max(before, copy());
}

/// Two tensors are read and one is written.
void gradient(benchmark::State& state, const Device& device, const QdqCase& c) {
  const Tensor& tensor = input(device, Distribution::normal, c.shape);
  const Tensor of_result = device.backend->quantize_dequantize(tensor, c.encodings, Rounding::half_even);
  const auto copy = [&] { return device.threads > 0 ? bandwidth(tensor.bytes(), device.threads).copy() : 0; };
  const double before = copy();
  const double seconds = fastest(state, *device.backend, [&] {
    benchmark::DoNotOptimize(
        device.backend->quantize_gradient(tensor, of_result, c.encodings, Rounding::half_even).input);
  });
  const double speed = 3 * static_cast<double>(tensor.bytes()) / seconds / 1e9;
  state.counters["GB/s"] = speed;
  if (device.threads > 0) state.counters["of_copy"] = speed / std::max(before, copy());
}

void observe(benchmark::State& state, const Device& device, ObserverKind kind, Distribution distribution,
             std::int64_t elements) {
  const Tensor& tensor = input(device, distribution, {elements});
  const auto read = [&] { return device.threads > 0 ? bandwidth(tensor.bytes(), device.threads).read() : 0; };
  const double before = read();
  const auto observer = device.backend->make_observer(kind, 1);
  const double seconds = fastest(state, *device.backend, [&] { observer->observe(0, tensor); });
  const double speed = static_cast<double>(tensor.bytes()) / seconds / 1e9;
  state.counters["GB/s"] = speed;
  if (device.threads > 0) state.counters["of_read"] = speed / std::max(before, read());
}

/// On the host: a GPU has its own entry, measured in bench/cuda/kernels.cu.
void search(benchmark::State& state, const Device& device, const QuantizerSpec& spec) {
  static const std::vector<TensorStatistics> statistics = searched_statistics();
  const double seconds = fastest(state, *device.backend, [&] {
    parallel_sites(searched_histograms, device.threads, [&](std::size_t i) {
      benchmark::DoNotOptimize(find_encoding(statistics[i % statistics.size()], spec));
    });
  });
  state.counters["core_us_a_histogram"] = seconds * 1e6 * device.threads / static_cast<double>(searched_histograms);
}

template <class Body>
void add(const std::string& name, Body&& body) {
  benchmark::RegisterBenchmark(name.c_str(), body)->UseRealTime()->MinTime(0.1)->Unit(benchmark::kMillisecond);
}

void add_all(const Device& device) {
  for (const std::int64_t elements : sizes)
    for (const int bits : {8, 4, 16})
      for (QdqCase& c : qdq_cases(elements, bits)) {
        const std::string name =
            fmt::format("qdq/{}/elements:{}/bits:{}/{}", c.name, c.shape.elements(), bits, device.name);
        const bool shown = bits == 8 || c.name == "tensor" || c.name == "block/128";
        if (shown) add(name, [device, c = std::move(c)](benchmark::State& state) { qdq(state, device, c); });
      }
  for (const std::int64_t elements : sizes)
    for (const QdqCase& c : qdq_cases(elements, 8))
      add(fmt::format("gradient/{}/elements:{}/bits:8/{}", c.name, c.shape.elements(), device.name),
          [device, c](benchmark::State& state) { gradient(state, device, c); });
  for (const auto& [kind, kind_name] :
       {std::pair{ObserverKind::histogram, "histogram"}, {ObserverKind::min_max, "min_max"}})
    for (const std::int64_t elements : sizes)
      for (const Distribution distribution : distributions)
        add(fmt::format("observe/{}/{}/elements:{}/{}", kind_name, name_of(distribution), elements, device.name),
            [=](benchmark::State& state) { observe(state, device, kind, distribution, elements); });
  for (const int bits : {8, 4})
    for (const bool symmetric : {true, false})
      if (device.threads > 0)
        add(fmt::format("search/{}/histograms:{}/bits:{}/{}", symmetric ? "symmetric" : "asymmetric",
                        searched_histograms, bits, device.name),
            [=](benchmark::State& state) {
              QuantizerSpec spec;
              spec.bitwidth = bits;
              spec.symmetric = symmetric;
              search(state, device, spec);
            });
}

}  // namespace
}  // namespace tare::bench

int main(int argc, char** argv) {
  tare::cli::wait_briefly(argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  try {
    for (const tare::bench::Device& device : tare::bench::devices()) tare::bench::add_all(device);
    benchmark::RunSpecifiedBenchmarks();
  } catch (const std::exception& error) {
    std::cerr << "bench_kernels: " << error.what() << '\n';
    return 1;
  }
  benchmark::Shutdown();
  return 0;
}
