// The kernels of the CUDA backend against what bounds them, all in one process: quantize-dequantize against a copy on
// the device, observers against a read-only reduction and CUB's histogram, the search by time. Every figure is the
// fastest of its repetitions, in milliseconds by CUDA events; ratios are made from those. Writes JSON: first argument.
#include <cuda_runtime.h>

#include <cmath>
#include <cstdio>
#include <cub/cub.cuh>
#include <functional>
#include <random>
#include <string>
#include <vector>

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
    fill(normal(1));
    copy_ = timer_([&] {
      TARE_CUDA_CHECK(cudaMemcpyAsync(out_.data(), in_.data(), bytes_of_tensor, cudaMemcpyDeviceToDevice, nullptr));
    });
    for (const auto& [type, name] : {std::pair{DataType::float32, "fp32"}, {DataType::bfloat16, "bf16"}}) {
      const auto elements = bytes_of_tensor / static_cast<std::int64_t>(size_of(type));
      fill(normal(1), type);
      quantize(std::string("qdq per tensor ") + name, type, {elements}, {}, 0.95);
      quantize(std::string("qdq per channel, rows of 3136, ") + name, type, {elements / (3136 * 64), 64, 3136}, 1,
               0.88);
      quantize(std::string("qdq per channel, odd rows of 3135, ") + name, type, {elements / (3135 * 61), 61, 3135}, 1,
               0.88);
      quantize(std::string("qdq per channel, columns, ") + name, type, {elements / 256, 256}, 1, 0.88);
      quantize_blocks(std::string("qdq per block of 128, ") + name, type, elements);
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

  static std::vector<float> normal(unsigned seed) {
    std::vector<float> values(std::size_t{1} << 20);
    std::mt19937 engine(seed);
    std::normal_distribution<float> distribution;
    for (float& value : values) value = distribution(engine);
    return values;
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
  }

  /// Time for the bytes of `elements`, by the copy of the whole tensor.
  double copy_of(std::int64_t elements, DataType type) const {
    return copy_ * static_cast<double>(elements * static_cast<std::int64_t>(size_of(type))) / bytes_of_tensor;
  }

  void time_quantizer(const std::string& name, DataType type, const Shape& shape, const TensorEncodings& encodings,
                      double goal) {
    const cuda::Quantizer quantizer(shape, Layout::plain, encodings, Rounding::half_even);
    const double time = timer_([&] { quantizer.run(in_.data(), out_.data(), type); });
    const double copy = copy_of(shape.elements(), type);
    rows_.push_back({name, time, "copy time / time", copy, copy / time, goal});
  }

  void quantize(const std::string& name, DataType type, const Shape& shape, std::optional<int> axis, double goal) {
    TensorEncodings encodings{"x", SiteRole::activation, QuantizerSpec{}, {}};
    encodings.spec.channel_axis = axis;
    const std::int64_t count = axis ? shape[static_cast<std::size_t>(*axis)] : 1;
    for (std::int64_t i = 0; i < count; ++i) {
      const double scale = 0.03 + 0.0001 * static_cast<double>(i);
      encodings.encodings.push_back({-128 * scale, 127 * scale, scale, -128});
    }
    time_quantizer(name, type, shape, encodings, goal);
  }

  void quantize_blocks(const std::string& name, DataType type, std::int64_t elements) {
    constexpr std::int64_t block = 128;
    const std::int64_t columns = 4096;
    const Shape shape{elements / columns, columns};
    TensorEncodings encodings{"x", SiteRole::parameter, QuantizerSpec{}, {}};
    encodings.spec.channel_axis = 0;
    encodings.spec.block_axis = 1;
    encodings.spec.block_size = block;
    for (std::int64_t i = 0; i < shape[0] * (columns / block); ++i) {
      const double scale = 0.03 + 0.0001 * static_cast<double>(i % 97);
      encodings.encodings.push_back({-128 * scale, 127 * scale, scale, -128});
    }
    time_quantizer(name, type, shape, encodings, 0.88);
  }

  void observers() {
    const std::int64_t elements = bytes_of_tensor / 4;
    const double read = timer_([&] {
      read_only<<<1056, 256>>>(reinterpret_cast<const uint4*>(in_.data()), bytes_of_tensor / 16, word_.data());
    });
    std::vector<float> relu = normal(2);
    for (float& value : relu) value = value > 0 ? value : 0.0f;
    std::vector<float> powers(relu.size());
    for (std::size_t i = 0; i < powers.size(); ++i)
      powers[i] = std::ldexp(i % 2 == 0 ? 1.0f : -1.0f, static_cast<int>(i % 16) * 2 - 16);
    cuda::Statistics statistics(1);
    const auto observe = [&](const char* name, const std::vector<float>& values, DataType type, double goal) {
      fill(values, type);
      const std::uint64_t count = static_cast<std::uint64_t>(bytes_of_tensor) / size_of(type);
      const cuda::ObservedTensor tensor{in_.data(), count, type, 0};
      const double time = timer_([&] { statistics.observe({&tensor, 1}); });
      rows_.push_back({std::string("observe ") + name, time, "read-only time / time", read, read / time, goal});
      return time;
    };
    observe("fp32 ReLU", relu, DataType::float32, 0.85);
    observe("fp32 constant", std::vector<float>(1 << 20, 3.25f), DataType::float32, 0.85);
    observe("fp32 powers of four", powers, DataType::float32, 0.85);
    observe("bf16 normal", normal(3), DataType::bfloat16, 0.0);
    const double time = observe("fp32 normal", normal(3), DataType::float32, 0.85);

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
    constexpr std::size_t histograms = 10000;
    std::vector<TensorStatistics> statistics;
    for (unsigned seed = 0; seed < 50; ++seed) {
      std::vector<float> values(20000);
      std::mt19937 engine(seed);
      std::normal_distribution<float> distribution(0.0f, 0.01f * static_cast<float>(seed + 1));
      for (float& value : values) value = seed % 3 == 0 ? std::abs(distribution(engine)) : distribution(engine);
      statistics.push_back(observe_values(values));
    }
    for (const bool symmetric : {true, false}) {
      std::vector<cuda::SearchRequest> requests;
      for (std::size_t i = 0; i < histograms; ++i)
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
