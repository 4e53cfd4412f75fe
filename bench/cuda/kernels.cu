// The kernels of the CUDA backend against what bounds them, all in one process: quantize-dequantize against a copy on
// the device, observers against a read-only reduction and CUB's histogram, the search by time. Every figure is the
// fastest of its repetitions, in milliseconds by CUDA events; ratios are made from those. Writes JSON: first argument.
#include <cuda_runtime.h>

#include <cmath>
#include <cstdio>
#include <cub/cub.cuh>
#include <functional>
#include <string>
#include <vector>

#include "bench/support/kernel_cases.hpp"
#include "runtime.hpp"
#include "tare/cuda.hpp"
#include "tare/numerics.hpp"

namespace tare::bench {
namespace {

constexpr std::int64_t bytes_of_tensor = std::int64_t{256} << 20;
constexpr int repetitions = 20;

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
  Timer() {
    TARE_CUDA_CHECK(cudaEventCreate(&begin_));
    TARE_CUDA_CHECK(cudaEventCreate(&end_));
  }
  ~Timer() {
    static_cast<void>(cudaEventDestroy(begin_));
    static_cast<void>(cudaEventDestroy(end_));
  }
  /// Fastest of the repetitions, after two that do not count.
  double operator()(const std::function<void()>& body) const {
    double best = 1e30;
    for (int i = -2; i < repetitions; ++i) {
      TARE_CUDA_CHECK(cudaEventRecord(begin_, nullptr));
      body();
      TARE_CUDA_CHECK(cudaEventRecord(end_, nullptr));
      TARE_CUDA_CHECK(cudaEventSynchronize(end_));
      float milliseconds = 0;
      TARE_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin_, end_));
      if (i >= 0 && static_cast<double>(milliseconds) < best) best = static_cast<double>(milliseconds);
    }
    return best;
  }

 private:
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

struct Row {
  std::string name;
  double milliseconds;
  std::string against;
  double other;  ///< milliseconds
  double ratio;  ///< of what `against` says
  double goal;
};

class Bench {
 public:
  Bench() : in_(bytes_of_tensor, stream()), out_(bytes_of_tensor, stream()), word_(1, stream()) {}

  void run() {
    fill(values_of(Distribution::normal));
    copy_ = timer_([&] {
      TARE_CUDA_CHECK(cudaMemcpyAsync(out_.data(), in_.data(), bytes_of_tensor, cudaMemcpyDeviceToDevice, nullptr));
    });
    for (const auto& [type, name] : {std::pair{DataType::float32, "fp32"}, {DataType::bfloat16, "bf16"}}) {
      fill(values_of(Distribution::normal), type);
      for (const QdqCase& c : qdq_cases(bytes_of_tensor / static_cast<std::int64_t>(size_of(type)), 8)) {
        const cuda::Quantizer quantizer(c.shape, Layout::plain, c.encodings, Rounding::half_even);
        const double time = timer_([&] { quantizer.run(in_.data(), out_.data(), type); });
        const double copy = copy_of(c.shape.elements(), type);
        rows_.push_back({"qdq " + c.name + " " + name, time, "copy time / time", copy, copy / time,
                         c.name == "tensor" ? 0.95 : 0.88});
      }
    }
    observers();
    search();
  }

  void write(const char* path) const {
    std::FILE* file = path == nullptr ? stdout : std::fopen(path, "w");
    if (file == nullptr) throw Error(ErrorKind::io, std::string("cannot write ") + path);
    cudaDeviceProp properties{};
    TARE_CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
    std::fprintf(file, "{\"device\": \"%s\", \"copy_ms\": %.6f, \"rows\": [\n", properties.name, copy_);
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const Row& row = rows_[i];
      std::fprintf(file,
                   "  {\"figure\": \"%s\", \"ms\": %.6f, \"against\": \"%s\", \"against_ms\": %.6f, \"ratio\": %.4f, "
                   "\"goal\": %.4f}%s\n",
                   row.name.c_str(), row.milliseconds, row.against.c_str(), row.other, row.ratio, row.goal,
                   i + 1 < rows_.size() ? "," : "");
    }
    std::fprintf(file, "]}\n");
    if (path != nullptr) std::fclose(file);
  }

 private:
  static cuda::StreamView stream() { return cuda::StreamView(nullptr); }

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
  }

  /// Time for the bytes of `elements`, by the copy of the whole tensor.
  double copy_of(std::int64_t elements, DataType type) const {
    return copy_ * static_cast<double>(elements * static_cast<std::int64_t>(size_of(type))) / bytes_of_tensor;
  }

  void observers() {
    const std::int64_t elements = bytes_of_tensor / 4;
    const double read = timer_([&] {
      read_only<<<1056, 256>>>(reinterpret_cast<const uint4*>(in_.data()), bytes_of_tensor / 16, word_.data());
    });
    cuda::Statistics statistics(1);
    double time = 0;
    const auto observe = [&](Distribution distribution, DataType type, const char* type_name, double goal) {
      fill(values_of(distribution), type);
      const std::uint64_t count = static_cast<std::uint64_t>(bytes_of_tensor) / size_of(type);
      const cuda::ObservedTensor tensor{in_.data(), count, type, 0};
      time = timer_([&] { statistics.observe({&tensor, 1}); });
      rows_.push_back({std::string("observe ") + type_name + " " + name_of(distribution), time, "read-only time / time",
                       read, read / time, goal});
    };
    observe(Distribution::normal, DataType::bfloat16, "bf16", 0.0);
    for (const Distribution distribution : {Distribution::relu, Distribution::constant, Distribution::uniform,
                                            Distribution::powers_of_four, Distribution::normal})
      observe(distribution, DataType::float32, "fp32", 0.85);  // normal last: CUB counts the same

    const auto* samples = reinterpret_cast<const float*>(in_.data());
    cuda::DeviceBuffer<int> counts(2048, stream());
    std::size_t scratch_bytes = 0;
    TARE_CUDA_CHECK(cub::DeviceHistogram::HistogramEven(nullptr, scratch_bytes, samples, counts.data(), 2049, -6.0f,
                                                        6.0f, elements));
    cuda::DeviceBuffer<std::uint8_t> scratch(scratch_bytes, stream());
    const double cub_time = timer_([&] {
      TARE_CUDA_CHECK(cub::DeviceHistogram::HistogramEven(scratch.data(), scratch_bytes, samples, counts.data(), 2049,
                                                          -6.0f, 6.0f, elements));
    });
    rows_.push_back({"observe fp32 normal", time, "CUB time / time", cub_time, cub_time / time, 4.0});
  }

  void search() {
    const std::vector<TensorStatistics> statistics = searched_statistics();
    for (const bool symmetric : {true, false}) {
      std::vector<cuda::SearchRequest> requests;
      for (std::size_t i = 0; i < searched_histograms; ++i)
        requests.push_back({&statistics[i % statistics.size()], QuantizerSpec{.bitwidth = 8, .symmetric = symmetric}});
      const double time = timer_([&] { static_cast<void>(cuda::find_encodings(requests)); });
      const double goal = symmetric ? 10 : 30;
      rows_.push_back({symmetric ? "search of 10,000 histograms, symmetric, transfers included"
                                 : "search of 10,000 histograms, asymmetric, transfers included",
                       time, "goal / time", goal, goal / time, 1.0});
    }
  }

  cuda::DeviceBuffer<std::uint8_t> in_;
  cuda::DeviceBuffer<std::uint8_t> out_;
  cuda::DeviceBuffer<unsigned> word_;
  Timer timer_;
  double copy_ = 0;
  std::vector<Row> rows_;
};

}  // namespace
}  // namespace tare::bench

int main(int argc, char** argv) {
  if (tare::cuda::device_count() == 0) {
    std::fprintf(stderr, "bench_cuda_kernels: no CUDA device\n");
    return 77;
  }
  try {
    tare::bench::Bench bench;
    bench.run();
    bench.write(argc > 1 ? argv[1] : nullptr);
    return 0;
  } catch (const tare::Error& error) {
    std::fprintf(stderr, "bench_cuda_kernels: %s\n", error.what());
    return 1;
  }
}
