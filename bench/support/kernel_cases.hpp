// What kernels are measured on, the same for every backend: values, grids and histograms. Host only.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "tare/calibration.hpp"
#include "tare/quantizer.hpp"
#include "tare/tensor.hpp"

namespace tare::bench {

enum class Distribution { normal, relu, constant, uniform, powers_of_four };
inline constexpr std::array distributions = {Distribution::normal, Distribution::relu, Distribution::constant,
                                             Distribution::uniform, Distribution::powers_of_four};

inline const char* name_of(Distribution distribution) {
  constexpr std::array names = {"normal", "relu", "constant", "uniform", "powers_of_four"};
  return names[static_cast<std::size_t>(distribution)];
}

/// 2^20 values, to be laid end to end. Powers of four are hard on counters that share banks: their bins lie a fixed
/// distance apart.
inline std::vector<float> values_of(Distribution distribution, unsigned seed = 1) {
  std::vector<float> values(std::size_t{1} << 20, 3.25f);
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  for (std::size_t i = 0; i < values.size(); ++i) switch (distribution) {
      case Distribution::normal: values[i] = normal(engine); break;
      case Distribution::relu: values[i] = std::max(normal(engine), 0.0f); break;
      case Distribution::constant: break;
      case Distribution::uniform: values[i] = uniform(engine); break;
      case Distribution::powers_of_four:
        values[i] = std::ldexp(i % 2 == 0 ? 1.0f : -1.0f, static_cast<int>(i % 16) * 2 - 16);
        break;
    }
  return values;
}

/// One quantizer on one tensor.
struct QdqCase {
  std::string name;
  Shape shape;
  TensorEncodings encodings;
};

/// Asymmetric grids of `bitwidth` bits around zero, each a little wider than the one before.
inline TensorEncodings grids(const QuantizerSpec& spec, std::int64_t count) {
  TensorEncodings result{"x", SiteRole::activation, spec, {}};
  const auto offset = -std::ldexp(1.0, spec.bitwidth - 1);
  for (std::int64_t i = 0; i < count; ++i) {
    const double scale = (7.68 + 0.0256 * static_cast<double>(i % 97)) / static_cast<double>(spec.steps() + 1);
    result.encodings.push_back({offset * scale, (offset + static_cast<double>(spec.steps())) * scale, scale, offset});
  }
  return result;
}

/// Tensors of about `elements`: one grid; a grid a channel, where channels are rows of 3136 (56 x 56), of 49 (7 x 7),
/// of an odd length that breaks alignment, or lie side by side; a grid for every 128 elements.
inline std::vector<QdqCase> qdq_cases(std::int64_t elements, int bitwidth) {
  std::vector<QdqCase> cases;
  QuantizerSpec spec;
  spec.bitwidth = bitwidth;
  cases.push_back({"tensor", {elements}, grids(spec, 1)});
  spec.channel_axis = 1;
  struct Rows {
    const char* name;
    std::int64_t channels;
    std::int64_t length;
  };
  for (const auto& [name, channels, length] :
       {Rows{"channel_rows/64x3136", 64, 3136}, Rows{"channel_rows/512x49", 512, 49},
        Rows{"channel_odd_rows/61x3135", 61, 3135}})
    cases.push_back(
        {name, {std::max<std::int64_t>(elements / (channels * length), 1), channels, length}, grids(spec, channels)});
  cases.push_back({"channel_columns/256", {elements / 256, 256}, grids(spec, 256)});
  spec.channel_axis = 0;
  spec.block_axis = 1;
  spec.block_size = 128;
  cases.push_back({"block/128", {elements / 4096, 4096}, grids(spec, elements / 128)});
  return cases;
}

/// Statistics of 50 tensors, wide and narrow, a third of them without negative values: to be searched over and over.
inline std::vector<TensorStatistics> searched_statistics() {
  std::vector<TensorStatistics> statistics;
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::vector<float> values(20000);
    std::mt19937 engine(seed);
    std::normal_distribution<float> distribution(0.0f, 0.01f * static_cast<float>(seed + 1));
    for (float& value : values) value = seed % 3 == 0 ? std::abs(distribution(engine)) : distribution(engine);
    statistics.push_back(observe_values(values));
  }
  return statistics;
}
inline constexpr std::size_t searched_histograms = 10000;

}  // namespace tare::bench
