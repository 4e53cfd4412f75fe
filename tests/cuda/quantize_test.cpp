// Quantize-dequantize on the device against the CPU backend, bit for bit: granularities, odd sizes, every format and
// type, special values, pointers that are not aligned.
#include "cuda/device.hpp"
#include "grid_locator.hpp"
#include "kernels/inputs.hpp"
#include "tare/backend.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

using CudaQuantize = test::CudaTest;

struct Case {
  Shape shape;
  QuantizerSpec spec;
  Layout layout = Layout::plain;
  bool lacks_reciprocals = false;  ///< some of the grids
};

std::vector<Case> cases() {
  const QuantizerSpec per_tensor{};
  const QuantizerSpec channel{.channel_axis = 1};
  const QuantizerSpec last{.bitwidth = 4, .channel_axis = -1};
  const QuantizerSpec block{.bitwidth = 4, .channel_axis = 0, .block_axis = 1, .block_size = 32};
  const QuantizerSpec block_outside{.bitwidth = 4, .channel_axis = 1, .block_axis = 0, .block_size = 16};
  const QuantizerSpec half{.format = NumberFormat::float16};
  const QuantizerSpec e4m3{.format = NumberFormat::float8e4m3fn, .channel_axis = 1};
  const QuantizerSpec e5m2{.format = NumberFormat::float8e5m2};
  const QuantizerSpec e5m2_last{.format = NumberFormat::float8e5m2, .channel_axis = -1};
  const QuantizerSpec odd_block{.bitwidth = 4, .channel_axis = 0, .block_axis = 1, .block_size = 25};
  const QuantizerSpec one_block{.bitwidth = 4, .channel_axis = 0, .block_axis = 1, .block_size = 2147483647};
  return {{Shape{100003}, per_tensor},
          {Shape{}, per_tensor},
          {Shape{0, 3}, channel},
          {Shape{5, 7, 7, 7}, channel},
          {Shape{3, 64, 56, 56}, channel},
          {Shape{4, 6, 3, 1}, channel},
          {Shape{517, 64}, last},
          {Shape{100, 63}, last},
          {Shape{2, 40, 9, 9}, channel, Layout::channels_last},
          {Shape{48, 256}, block},
          {Shape{48, 250}, block},
          {Shape{64, 33}, block_outside},
          {Shape{70, 33}, block_outside},
          {Shape{9, 1001}, half},
          {Shape{40, 61, 49}, channel},
          {Shape{40, 61, 49}, channel, Layout::plain, true},
          {Shape{96, 1250}, odd_block},
          {Shape{70, 33, 40}, block_outside, Layout::plain, true},
          {Shape{9, 1001}, one_block},
          {Shape{517, 64}, last, Layout::plain, true},
          {Shape{100, 63}, last, Layout::plain, true},
          {Shape{2, 40, 9, 9}, channel, Layout::channels_last, true},
          {Shape{8, 12, 5}, e4m3},
          {Shape{40, 61, 49}, e4m3},
          {Shape{2, 40, 9, 9}, e4m3, Layout::channels_last},
          {Shape{517, 64}, e5m2_last},
          {Shape{100, 63}, e5m2_last},
          {Shape{9, 1001}, e5m2}};
}

TensorEncodings encodings_of(const Case& test) {
  TensorEncodings result{"x", SiteRole::activation, test.spec, {}};
  const auto size = [&](int axis) {
    return test.shape[static_cast<std::size_t>(axis < 0 ? axis + static_cast<int>(test.shape.rank()) : axis)];
  };
  const std::int64_t channels = test.spec.channel_axis ? size(*test.spec.channel_axis) : 1;
  const std::int64_t blocks =
      test.spec.block_axis ? (size(*test.spec.block_axis) + test.spec.block_size - 1) / test.spec.block_size : 1;
  const double steps = static_cast<double>(test.spec.steps());
  for (std::int64_t i = 0; i < channels * blocks; ++i) {
    double scale = static_cast<double>(static_cast<float>(0.01 * (1.0 + 0.37 * static_cast<double>(i % 11))));
    if (test.lacks_reciprocals && i % 3 == 1) scale = 0x1.000002p-6;  // just beyond a power of two
    const double offset = test.spec.format == NumberFormat::integer ? -static_cast<double>(i % 9) : 0.0;
    result.encodings.push_back({scale * offset, scale * (offset + steps), scale, offset});
  }
  return result;
}

/// Special values, half steps and normal ones, in the type.
Tensor input_of(const Case& test, DataType type) {
  const std::size_t elements = static_cast<std::size_t>(test.shape.elements());
  std::vector<float> values = test::normal_values(elements, 7);
  const std::vector<float> special = test::special_values();
  for (std::size_t i = 0; i < elements; i += 3) values[i] = special[i / 3 % special.size()];
  for (std::size_t i = 1; i < elements; i += 5) values[i] = 0.01f * (static_cast<float>(i % 300) + 0.5f);
  Tensor tensor = Tensor::host(type, test.shape, test.layout);
  for (std::size_t i = 0; i < elements; ++i) {
    if (type == DataType::float32) tensor.mutable_data<float>()[i] = values[i];
    if (type == DataType::float16) tensor.mutable_data<std::uint16_t>()[i] = float_to_half(values[i]);
    if (type == DataType::bfloat16) tensor.mutable_data<std::uint16_t>()[i] = float_to_bfloat(values[i]);
  }
  return tensor;
}

TEST_F(CudaQuantize, GivesTheBitsOfTheCpu) {
  const auto cpu = make_cpu_backend();
  for (const Case& test : cases())
    for (const DataType type : {DataType::float32, DataType::float16, DataType::bfloat16})
      for (const Rounding rounding : {Rounding::half_even, Rounding::half_up})
        for (const std::size_t shift : {std::size_t{0}, size_of(type)}) {
          SCOPED_TRACE(test.shape.text() + " " + std::string(name_of(type)));
          const TensorEncodings encodings = encodings_of(test);
          const Tensor input = input_of(test, type);
          const test::DeviceBytes device(input.data(), input.bytes(), shift);
          const test::DeviceBytes elsewhere(input.data(), input.bytes());
          const cuda::Quantizer quantizer(test.shape, test.layout, encodings, rounding);
          quantizer.run(device.data(), elsewhere.data(), type);
          quantizer.run(device.data(), device.data(), type);
          const Tensor expected = cpu->quantize_dequantize(input, encodings, rounding);
          const auto* bytes = expected.data<std::uint8_t>();
          const std::vector<std::uint8_t> wanted(bytes, bytes + expected.bytes());
          EXPECT_EQ(device.download(), wanted) << "in place, shifted by " << shift;
          EXPECT_EQ(elsewhere.download(), wanted) << "from shifted by " << shift;
        }
}

TEST_F(CudaQuantize, RunsOnAnotherStreamAndInGraphs) {
  const Case test{Shape{40, 61, 49}, QuantizerSpec{.channel_axis = 1}};
  const TensorEncodings encodings = encodings_of(test);
  const Tensor input = input_of(test, DataType::float32);
  const Tensor expected = make_cpu_backend()->quantize_dequantize(input, encodings, Rounding::half_even);
  const auto* bytes = expected.data<std::uint8_t>();
  const std::vector<std::uint8_t> wanted(bytes, bytes + expected.bytes());
  cudaStream_t own = nullptr;
  cudaStream_t other = nullptr;
  TARE_CUDA_CHECK(cudaStreamCreateWithFlags(&own, cudaStreamNonBlocking));
  TARE_CUDA_CHECK(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
  const test::DeviceBytes device(input.data(), input.bytes());
  const test::DeviceBytes queued(input.data(), input.bytes());
  const test::DeviceBytes replayed(input.data(), input.bytes());
  {
    const cuda::Quantizer quantizer(test.shape, test.layout, encodings, Rounding::half_even, own);
    quantizer.run(device.data(), queued.data(), DataType::float32, other);
    TARE_CUDA_CHECK(cudaStreamBeginCapture(other, cudaStreamCaptureModeThreadLocal));
    quantizer.run(device.data(), replayed.data(), DataType::float32, other);
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t instance = nullptr;
    TARE_CUDA_CHECK(cudaStreamEndCapture(other, &graph));
    TARE_CUDA_CHECK(cudaGraphInstantiateWithFlags(&instance, graph, 0));
    TARE_CUDA_CHECK(cudaGraphLaunch(instance, other));
    TARE_CUDA_CHECK(cudaStreamSynchronize(other));
    TARE_CUDA_CHECK(cudaGraphExecDestroy(instance));
    TARE_CUDA_CHECK(cudaGraphDestroy(graph));
  }
  EXPECT_EQ(queued.download(), wanted);
  EXPECT_EQ(replayed.download(), wanted);
  TARE_CUDA_CHECK(cudaStreamSynchronize(own));
  TARE_CUDA_CHECK(cudaStreamDestroy(own));
  TARE_CUDA_CHECK(cudaStreamDestroy(other));
}

TEST_F(CudaQuantize, EveryFloatGivesTheBitsOfTheCpu) {
  const auto cpu = make_cpu_backend();
  constexpr std::size_t part = std::size_t{1} << 26;
  for (const double scale : {0.017, 1.0, 3.1e-20}) {
    TensorEncodings encodings{"x", SiteRole::activation, {}, {}};
    const double exact = static_cast<double>(static_cast<float>(scale));
    encodings.encodings.push_back({exact * -100, exact * 155, exact, -100});
    const cuda::Quantizer quantizer(Shape{std::int64_t{part}}, Layout::plain, encodings, Rounding::half_even);
    for (std::uint32_t slice = 0; slice < 64; slice += 9) {
      Tensor input = Tensor::host(DataType::float32, Shape{std::int64_t{part}});
      for (std::size_t i = 0; i < part; ++i)
        input.mutable_data<std::uint32_t>()[i] =
            slice * static_cast<std::uint32_t>(part) + static_cast<std::uint32_t>(i);
      const test::DeviceBytes device(input.data(), input.bytes());
      quantizer.run(device.data(), device.data(), DataType::float32);
      const Tensor expected = cpu->quantize_dequantize(input, encodings, Rounding::half_even);
      EXPECT_EQ(std::memcmp(device.download().data(), expected.data(), expected.bytes()), 0) << scale << " " << slice;
    }
  }
}

/// Grids found with 32 bits, with 64 bits, and by counting dimensions.
TEST(CudaQuantizer, FindsTheGridOfEveryRun) {
  struct Sizes {
    std::int64_t outer, size, between, inner_size, block, inner_block;
  };
  for (const Sizes& s : {Sizes{2, 7, 3, 5, 1, 1}, Sizes{1, 7, 1, 10, 3, 4}, Sizes{3, 1, 1, 9, 1, 1},
                         Sizes{1, 6, 5, 1, 4, 1}, Sizes{2, 4, 1, 6, 2147483647, 7}}) {
    cuda::GridMap map;
    map.dimensions[0] = {1, s.inner_size, s.inner_block, 1};
    map.dimensions[1] = {s.inner_size * s.between, s.size, s.block, 1000};
    const cuda::GridLocator locator(map);
    std::uint32_t run = 0;
    for (std::int64_t o = 0; o < s.outer; ++o)
      for (std::int64_t i = 0; i < s.size; ++i)
        for (std::int64_t b = 0; b < s.between; ++b)
          for (std::int64_t k = 0; k < s.inner_size; ++k, ++run) {
            const std::int64_t wanted = i / s.block * 1000 + k / s.inner_block;
            std::uint32_t small[1] = {};
            locator.find({run}, small);
            EXPECT_EQ(small[0], wanted) << run;
            // Outer indices start again and again: far beyond 32 bits, too.
            std::int64_t large[1] = {};
            const std::int64_t lap = s.size * s.between * s.inner_size;
            locator.find({run + lap * (std::int64_t{1} << 40)}, large);
            EXPECT_EQ(large[0], wanted) << run;
          }
  }
}

TEST(CudaQuantizer, DividesNumbersBelowTwoToThe31st) {
  constexpr std::uint32_t most = (std::uint32_t{1} << 31) - 1;
  for (const std::int64_t by :
       {std::int64_t{1}, std::int64_t{3}, std::int64_t{49}, std::int64_t{3136}, std::int64_t{1} << 30,
        std::int64_t{most} - 1, std::int64_t{most}, std::int64_t{1} << 31, std::int64_t{1} << 40}) {
    const cuda::Divisor divisor(by);
    for (const std::int64_t near : {std::int64_t{0}, by, 2 * by, 12345 * by, std::int64_t{1} << 30, std::int64_t{most}})
      for (std::int64_t number = std::max<std::int64_t>(near - 2, 0); number <= near + 2 && number <= most; ++number)
        EXPECT_EQ(divisor.quotient(static_cast<std::uint32_t>(number)), number / by) << number << " / " << by;
  }
}

/// What is wrong is refused before the device is touched: these run everywhere.
TEST(CudaQuantizer, RefusesWhatDoesNotFit) {
  TensorEncodings encodings{"x", SiteRole::activation, {.channel_axis = 4}, {{0, 255, 1, 0}}};
  EXPECT_THROW(cuda::Quantizer(Shape{2, 3}, Layout::plain, encodings, Rounding::half_even), Error);
  encodings.spec.channel_axis = 1;
  EXPECT_THROW(cuda::Quantizer(Shape{2, 3}, Layout::plain, encodings, Rounding::half_even), Error);
  encodings.spec.channel_axis.reset();
  const cuda::Quantizer quantizer(Shape{2, 3}, Layout::plain, encodings, Rounding::half_even);
  EXPECT_THROW(quantizer.run(nullptr, nullptr, DataType::int32), Error);
}

}  // namespace
}  // namespace tare
