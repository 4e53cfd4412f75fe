// Values to search encodings for, and what an encoding costs them, measured with arithmetic of its own.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tare/quantizer.hpp"

namespace tare::test {

inline std::vector<float> draw(const std::string& name, unsigned seed, std::size_t count = 200000) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform(0, 1);
  std::student_t_distribution<double> student(3);
  std::gamma_distribution<double> gamma(2);
  const std::map<std::string, std::function<double()>> draws = {
      {"normal", [&] { return normal(random); }},
      {"laplace",
       [&] {
         const double u = uniform(random) - 0.5;
         return u < 0 ? std::log(1 + 2 * u + 1e-12) : -std::log(1 - 2 * u + 1e-12);
       }},
      {"student3", [&] { return student(random); }},
      {"relu", [&] { return std::max(0.0, normal(random)); }},
      {"gelu",
       [&] {
         const double x = normal(random);
         return x * 0.5 * (1 + std::erf(x / std::sqrt(2.0)));
       }},
      {"outlier", [&] { return normal(random) * (uniform(random) < 0.001 ? 50 : 1); }},
      {"lognormal", [&] { return std::exp(normal(random)); }},
      {"shifted", [&] { return normal(random) + 1; }},
      {"leaky",
       [&] {
         const double x = normal(random);
         return x < 0 ? 0.1 * x : x;
       }},
      {"gamma", [&] { return gamma(random) - 0.5; }},
      {"one_sided", [&] { return std::abs(normal(random)) * (uniform(random) < 0.001 ? 50 : 1); }},
      {"sigmoid", [&] { return 1 / (1 + std::exp(-8 * normal(random))); }},
      {"relu6", [&] { return std::min(6.0, std::max(0.0, 4 * normal(random))); }},
      {"image", [&] { return (std::floor(256 * uniform(random)) / 255 - 0.485) / 0.229; }},
      {"mask", [&] { return uniform(random) < 0.3 ? 1.0 : 0.0; }},
  };
  std::vector<float> values(count);
  const auto& next = draws.at(name);
  for (float& value : values) value = static_cast<float>(next());
  return values;
}

inline double true_error(const std::vector<float>& values, double scale, double low, double high,
                         std::size_t stride = 1) {
  const float s = static_cast<float>(scale);
  const float l = static_cast<float>(low);
  const float h = static_cast<float>(high);
  constexpr float magic = 0x1.8p23f;
  double total = 0;
  for (std::size_t begin = 0; begin < values.size(); begin += 1024 * stride) {
    float sums[16] = {};
    const std::size_t end = std::min(values.size(), begin + 1024);
    for (std::size_t i = begin; i < end; ++i) {
      const float clipped = std::min(std::max(values[i] / s, l), h);
      const float error = values[i] - ((clipped + magic) - magic) * s;
      sums[i % 16] += error * error;
    }
    for (const float sum : sums) total += static_cast<double>(sum);
  }
  return total;
}

inline double true_error(const std::vector<float>& values, const Encoding& encoding, const QuantizerSpec& spec) {
  return true_error(values, encoding.scale, encoding.offset, encoding.offset + static_cast<double>(spec.steps()));
}

}  // namespace tare::test
