// The kernels of the CUDA backend against what bounds them, all in one process: quantize-dequantize against a copy on
// the device, observers against a read-only reduction and CUB's histogram, the search by time. A kernel and what it is
// compared with take turns. Every figure is the fastest of its repetitions, in milliseconds: by CUDA events of several
// calls in a row, of the search with its transfers by the host's clock; ratios are made from those. What they are held
// to stands in tools/gpu_report.py. Writes JSON: first argument.
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cub/cub.cuh>
#include <functional>
#include <string>
#include <vector>

#include "bench/cuda/figures.hpp"
#include "bench/support/kernel_cases.hpp"
#include "chain.hpp"
#include "runtime.hpp"
#include "search.hpp"
#include "stopwatch.hpp"
#include "tare/cuda.hpp"
#include "tare/numerics.hpp"

namespace tare::bench {
namespace {

constexpr std::int64_t bytes_of_tensor = std::int64_t{256} << 20;
constexpr int warm_ups = 2;
constexpr int repetitions = 20;
constexpr int calls = 8;  ///< in a row

using Clock = std::chrono::steady_clock;
using Body = std::function<void()>;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// Reads everything, 16 bytes a thread at a time, and writes next to nothing.
__global__ void read_only(const uint4* in, std::int64_t count, unsigned* out) {
  unsigned any = 0;
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  for (; i + 3 * step < count; i += 4 * step) {
    uint4 words[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) words[k] = __ldg(in + i + k * step);
#pragma unroll
    for (int k = 0; k < 4; ++k) any ^= words[k].x ^ words[k].y ^ words[k].z ^ words[k].w;
  }
  for (; i < count; i += step) any ^= in[i].x ^ in[i].y ^ in[i].z ^ in[i].w;
  if (any == 0x12345678u) atomicAdd(out, 1u);  // hardly ever: the loads must not be dropped
}

class Timer {
 public:
  /// Of a call, the fastest of the repetitions.
  double operator()(const Body& body) const {
    double best = 1e30;
    for (int i = -warm_ups; i < repetitions; ++i) {
      const double time = once(body);
      if (i >= 0) best = std::min(best, time);
    }
    return best;
  }

  struct Times {
    double own = 1e30;
    double other = 1e30;
  };
  /// The same of two that take turns, so that they meet the same clocks.
  Times operator()(const Body& body, const Body& other) const {
    Times best;
    for (int i = -warm_ups; i < repetitions; ++i) {
      const Times times{once(body), once(other)};
      if (i >= 0) best = {std::min(best.own, times.own), std::min(best.other, times.other)};
    }
    return best;
  }

 private:
  double once(const Body& body) const {
    return static_cast<double>(stopwatch_(cuda::StreamView(nullptr), calls, body)) / calls;
  }

  cuda::Stopwatch stopwatch_;
};

/// Device memory as one call takes it, kept when the call gives it back: its kernel can then run on it again.
class KeptMemory {
 public:
  cuda::Allocator allocator() { return {take, give, this}; }
  const std::vector<cuda::DeviceBuffer<std::uint8_t>>& pieces() const { return pieces_; }

 private:
  static void* take(void* context, std::size_t bytes, cuda::Stream stream) {
    auto& pieces = static_cast<KeptMemory*>(context)->pieces_;
    return pieces.emplace_back(bytes, cuda::StreamView(stream)).data();
  }
  static void give(void*, void*, std::size_t, cuda::Stream) {}

  std::vector<cuda::DeviceBuffer<std::uint8_t>> pieces_;
};

/// Those of every backend, and what no vector fits: columns of an odd number, and rows whose last block is shorter.
std::vector<QdqCase> cases_of(std::int64_t elements) {
  constexpr int bitwidth = 8;
  std::vector<QdqCase> cases = qdq_cases(elements, bitwidth);
  QuantizerSpec spec;
  spec.bitwidth = bitwidth;
  spec.channel_axis = 1;
  cases.push_back({"channel_odd_columns/255", {elements / 255, 255}, grids(spec, 255)});
  constexpr std::int64_t row = 4095;
  spec.channel_axis = 0;
  spec.block_axis = 1;
  spec.block_size = 128;
  const std::int64_t blocks = (row + spec.block_size - 1) / spec.block_size;
  cases.push_back({"block_odd_rows/128", {elements / row, row}, grids(spec, elements / row * blocks)});
  return cases;
}

class Bench {
 public:
  explicit Bench(Figures& figures)
      : figures_(figures), in_(bytes_of_tensor, stream()), out_(bytes_of_tensor, stream()), word_(1, stream()) {}

  void run() {
    for (const auto& [type, name] : {std::pair{DataType::float32, "fp32"}, {DataType::bfloat16, "bf16"}})
      figures_.section(std::string("qdq ") + name, [&, type = type, name = name] { quantize(type, name); });
    observe(Distribution::normal, DataType::bfloat16, "bf16");
    for (const Distribution distribution : distributions) observe(distribution, DataType::float32, "fp32");
    figures_.section("CUB", [&] { histogram(); });
    figures_.section("chain", [&] { chain(); });
    figures_.section("rows", [&] { rows(); });
    figures_.section("search", [&] { search(); });
  }

 private:
  static cuda::StreamView stream() { return cuda::StreamView(nullptr); }

  /// Until the clocks of an idle device are up.
  void warm_up() {
    constexpr double enough_ms = 300;
    for (const auto start = Clock::now(); milliseconds_since(start) < enough_ms;) {
      for (int i = 0; i < calls; ++i) copy(bytes_of_tensor);
      stream().synchronize();
    }
  }

  /// The values over and over.
  void fill(const std::vector<float>& values, DataType type = DataType::float32) {
    std::vector<std::uint8_t> bytes(values.size() * size_of(type));
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (type == DataType::float32)
        reinterpret_cast<float*>(bytes.data())[i] = values[i];
      else
        reinterpret_cast<std::uint16_t*>(bytes.data())[i] = float_to_bfloat(values[i]);
    }
    for (std::int64_t at = 0; at < bytes_of_tensor; at += static_cast<std::int64_t>(bytes.size()))
      TARE_CUDA_CHECK(cudaMemcpy(in_.data() + at, bytes.data(), bytes.size(), cudaMemcpyHostToDevice));
    warm_up();
  }

  void copy(std::int64_t bytes) {
    TARE_CUDA_CHECK(
        cudaMemcpyAsync(out_.data(), in_.data(), static_cast<std::size_t>(bytes), cudaMemcpyDeviceToDevice, nullptr));
  }

  void read() {
    read_only<<<1056, 256>>>(reinterpret_cast<const uint4*>(in_.data()), bytes_of_tensor / 16, word_.data());
    TARE_CUDA_CHECK_LAUNCH("read_only");
  }

  void add(const std::string& figure, const Timer::Times& times, const char* against) {
    figures_.add({{"figure", figure},
                  {"ms", times.own},
                  {"against", against},
                  {"against_ms", times.other},
                  {"ratio", times.other / times.own}});
  }

  void quantize(DataType type, const char* type_name) {
    fill(values_of(Distribution::normal), type);
    for (const QdqCase& c : cases_of(bytes_of_tensor / static_cast<std::int64_t>(size_of(type)))) {
      const std::string figure = "qdq " + c.name + " " + type_name;
      figures_.section(figure, [&] {
        const cuda::Quantizer quantizer(c.shape, Layout::plain, c.encodings, Rounding::half_even);
        const auto bytes = c.shape.elements() * static_cast<std::int64_t>(size_of(type));
        add(figure, timer_([&] { quantizer.run(in_.data(), out_.data(), type); }, [&] { copy(bytes); }),
            "copy time / time");
      });
    }
  }

  void observe(Distribution distribution, DataType type, const char* type_name) {
    const std::string figure = std::string("observe ") + type_name + " " + name_of(distribution);
    figures_.section(figure, [&] {
      fill(values_of(distribution), type);
      cuda::Statistics statistics(1);
      const cuda::ObservedTensor tensor{in_.data(), static_cast<std::uint64_t>(bytes_of_tensor) / size_of(type), type,
                                        0};
      add(figure, timer_([&] { statistics.observe({&tensor, 1}); }, [&] { read(); }), "read-only time / time");
    });
  }

  void histogram() {
    fill(values_of(Distribution::normal));
    constexpr std::int64_t elements = bytes_of_tensor / 4;
    const auto* samples = reinterpret_cast<const float*>(in_.data());
    cuda::DeviceBuffer<int> counts(2048, stream());
    cuda::DeviceBuffer<std::uint8_t> scratch;
    std::size_t scratch_bytes = 0;
    const auto count = [&] {
      TARE_CUDA_CHECK(cub::DeviceHistogram::HistogramEven(scratch.data(), scratch_bytes, samples, counts.data(), 2049,
                                                          -6.0f, 6.0f, elements));
    };
    count();  // without memory it says how much it needs
    scratch = cuda::DeviceBuffer<std::uint8_t>(scratch_bytes, stream());
    cuda::Statistics statistics(1);
    const cuda::ObservedTensor tensor{samples, elements, DataType::float32, 0};
    add("observe fp32 normal beside CUB", timer_([&] { statistics.observe({&tensor, 1}); }, count), "CUB time / time");
  }

  /// A normalization with its ReLU, and the same while two of its values are counted.
  void chain() {
    fill(values_of(Distribution::normal));
    constexpr std::int64_t channels = 256;
    cuda::DeviceBuffer<float> numbers(3 * channels, stream());
    numbers.upload(std::vector<float>(numbers.size(), 0.5f), stream());
    stream().synchronize();
    cuda::ChainProgram program;
    program.by_channel = true;
    program.elements = bytes_of_tensor / 4;
    program.spatial = 4096;
    program.channel_count = channels;
    program.in[0] = in_.data();
    program.out[0] = out_.data();
    program.steps = 2;
    program.step[0].kind = cpu::Step::Kind::affine;
    program.step[0].sources[0].kind = cuda::ChainSource::Kind::block;
    program.step[0].channels = numbers.data();
    program.step[1].kind = cpu::Step::Kind::unary;
    program.step[1].formula = cpu::Formula::relu;
    program.step[1].output = 0;
    cuda::ChainProgram counting = program;
    counting.step[0].sources[0].tap = 0;
    counting.step[0].tap = 1;
    cuda::DeviceBuffer<cuda::Site> sites(2, stream());
    cuda::DeviceBuffer<cuda::Exact> partials(cuda::most_observer_partials(), stream());
    cuda::DeviceBuffer<unsigned> finished(1, stream());
    sites.clear(stream());
    finished.clear(stream());
    const cuda::ChainTaps taps{2, {sites.data(), sites.data() + 1}, partials.data(), finished.data()};
    add("chain fp32 beside a copy", timer_([&] { run_chain(program, stream()); }, [&] { copy(bytes_of_tensor); }),
        "copy time / time");
    add("chain fp32 that counts two values",
        timer_([&] { run_counting_chain(counting, taps, stream()); }, [&] { run_chain(program, stream()); }),
        "time of the chain alone / time");
  }

  /// Rows as a transformer has them: the sum of two tensors, normalized; scores with a number before their softmax.
  void rows() {
    fill(values_of(Distribution::normal));
    const auto time_of = [&](const cuda::ChainProgram& program) {
      return timer_([&] { run_chain(program, stream()); }, [&] { copy(bytes_of_tensor); });
    };
    cuda::ChainProgram program;
    program.in[0] = in_.data();
    program.in[1] = in_.data();
    program.out[0] = out_.data();
    program.steps = 2;
    program.row_step = 1;
    program.step[0].kind = cpu::Step::Kind::binary;
    program.step[0].formula = cpu::Formula::add;
    program.step[0].sources[0].kind = cuda::ChainSource::Kind::block;
    program.step[0].sources[1] = {.kind = cuda::ChainSource::Kind::block, .index = 1};
    program.step[1].kind = cpu::Step::Kind::row;
    program.step[1].output = 0;
    program.rows = {cpu::RowOperation::Kind::layer_normalization, 384, 1e-5, {}, {}};
    program.rows.scales.data = in_.data();
    program.rows.biases.data = in_.data();
    program.elements = bytes_of_tensor / 4 / 384 * 384;
    add("layer normalization of a sum, fp32, rows of 384", time_of(program), "copy time / time");
    program.step[0].formula = cpu::Formula::multiply;
    program.step[0].sources[1] = {.kind = cuda::ChainSource::Kind::constant, .number = 0.125f};
    for (const std::int64_t length : {128, 197}) {
      program.rows = {cpu::RowOperation::Kind::softmax, length, 0, {}, {}};
      program.elements = bytes_of_tensor / 4 / length * length;
      add("scaled softmax fp32, rows of " + std::to_string(length), time_of(program), "copy time / time");
    }
  }

  /// Requests that share histograms are searched as often, but their histograms travel and are read once.
  void search() {
    const std::vector<TensorStatistics> shared = searched_statistics();
    std::vector<TensorStatistics> distinct;
    for (std::size_t i = 0; i < searched_histograms; ++i) distinct.push_back(shared[i % shared.size()]);
    for (const bool symmetric : {true, false}) {
      const std::string symmetry = symmetric ? ", symmetric" : ", asymmetric";
      const auto searched = [&](const std::string& what, const std::vector<TensorStatistics>& statistics, auto timed) {
        figures_.section(what + symmetry, [&] {
          std::vector<cuda::SearchRequest> requests;
          for (std::size_t i = 0; i < searched_histograms; ++i)
            requests.push_back(
                {&statistics[i % statistics.size()], QuantizerSpec{.bitwidth = 8, .symmetric = symmetric}});
          warm_up();
          timed(what + symmetry, requests);
        });
      };
      const auto whole = [&](const std::string& what, const auto& requests) { search_whole(what, requests); };
      searched("search of 10,000 distinct histograms", distinct, whole);
      searched("10,000 searches in 50 histograms", shared, whole);
      searched("search of 10,000 distinct histograms", distinct,
               [&](const std::string& what, const auto& requests) { search_kernel(what, requests); });
    }
  }

  void search_whole(const std::string& what, const std::vector<cuda::SearchRequest>& requests) {
    double best = 1e30;
    for (int i = -warm_ups; i < repetitions; ++i) {
      const auto start = Clock::now();
      static_cast<void>(cuda::find_encodings(requests));
      if (i >= 0) best = std::min(best, milliseconds_since(start));
    }
    figures_.add({{"figure", what + ", transfers included"}, {"ms", best}});
  }

  void search_kernel(const std::string& what, const std::vector<cuda::SearchRequest>& requests) {
    KeptMemory memory;
    static_cast<void>(cuda::find_encodings(requests, {}, nullptr, memory.allocator()));
    const auto& pieces =
        memory.pieces();  // histograms, tasks, results: in the order in which find_encodings takes them
    if (pieces.size() != 3 || pieces[1].bytes() != requests.size() * sizeof(cuda::SearchTask) ||
        pieces[2].bytes() != requests.size() * sizeof(cuda::SearchResult))
      throw Error(ErrorKind::internal, "find_encodings takes other memory than this benchmark knows");
    const double time = timer_([&] {
      cuda::search(reinterpret_cast<const cuda::SearchTask*>(pieces[1].data()), requests.size(),
                   reinterpret_cast<const cuda::PackedBin*>(pieces[0].data()),
                   reinterpret_cast<cuda::SearchResult*>(pieces[2].data()), stream());
    });
    figures_.add({{"figure", what + ", kernel alone"}, {"ms", time}});
  }

  Figures& figures_;
  cuda::DeviceBuffer<std::uint8_t> in_;
  cuda::DeviceBuffer<std::uint8_t> out_;
  cuda::DeviceBuffer<unsigned> word_;
  Timer timer_;
};

}  // namespace
}  // namespace tare::bench

int main(int argc, char** argv) {
  if (tare::cuda::device_count() == 0) {
    std::fprintf(stderr, "bench_cuda_kernels: no CUDA device\n");
    return 77;
  }
  try {
    tare::bench::Figures figures(argc > 1 ? argv[1] : "");
    cudaDeviceProp properties{};
    TARE_CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
    figures.set("device", properties.name);
    tare::bench::Bench bench(figures);
    bench.run();
    return figures.has_failed() ? 1 : 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_cuda_kernels: %s\n", error.what());
    return 1;
  }
}
