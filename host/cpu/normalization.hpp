// What the normalization operators share: moments of a row in float64, and the affine map that follows, for float (by
// the vector loops) and double (plainly).
#pragma once

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "cpu/operators.hpp"
#include "cpu/vector.hpp"

namespace tare::cpu {

inline double sum_of_lanes(std::array<double, 16>& lanes) {
  for (std::size_t step = 8; step > 0; step /= 2)
    for (std::size_t l = 0; l < step; ++l) lanes[l] += lanes[l + step];
  return lanes[0];
}

template <class T>
double row_sum(const VectorKernels& v, const T* in, std::int64_t n) {
  std::array<double, 16> lanes{};
  if constexpr (std::is_same_v<T, float>)
    v.row_sum(in, static_cast<std::size_t>(n), lanes.data());
  else
    for (std::int64_t i = 0; i < n; ++i) lanes[static_cast<std::size_t>(i % 16)] += in[i];
  return sum_of_lanes(lanes);
}

/// Sum of (in - mean)^2.
template <class T>
double row_deviation(const VectorKernels& v, const T* in, std::int64_t n, double mean) {
  std::array<double, 16> lanes{};
  if constexpr (std::is_same_v<T, float>)
    v.row_square_deviation(in, static_cast<std::size_t>(n), mean, lanes.data());
  else
    for (std::int64_t i = 0; i < n; ++i) lanes[static_cast<std::size_t>(i % 16)] += (in[i] - mean) * (in[i] - mean);
  return sum_of_lanes(lanes);
}

template <class T>
void affine(const VectorKernels& v, const T* in, T center, T factor, T addend, T* out, std::int64_t n) {
  if constexpr (std::is_same_v<T, float>)
    v.row_affine(in, center, factor, addend, out, static_cast<std::size_t>(n));
  else
    for (std::int64_t i = 0; i < n; ++i) out[i] = (in[i] - center) * factor + addend;
}

/// A batch normalization as y = (x - center) * factor + addend, by channel.
template <class T>
struct ChannelAffine {
  std::vector<T> centers, factors, addends;
};

template <class T>
ChannelAffine<T> channel_affine(const std::vector<double>& scales, const std::vector<double>& biases,
                                const std::vector<double>& mean, const std::vector<double>& variance, double epsilon) {
  ChannelAffine<T> result;
  for (std::size_t i = 0; i < scales.size(); ++i) {
    result.centers.push_back(static_cast<T>(mean[i]));
    result.factors.push_back(static_cast<T>(scales[i] / std::sqrt(variance[i] + epsilon)));
    result.addends.push_back(static_cast<T>(biases[i]));
  }
  return result;
}

/// float32 and float64 only; anything else fails naming the node.
template <class Function>
void dispatch_real(const Call& call, DataType type, Function&& function) {
  if (type == DataType::float32) return function.template operator()<float>();
  if (type == DataType::float64) return function.template operator()<double>();
  call.fail("takes floating-point tensors, not " + std::string(name_of(type)));
}

/// A parameter of one number a channel (or group), as float64; fails unless it has `count` elements.
std::vector<double> parameter(const Call& call, std::size_t input, std::int64_t count, std::string_view what);

/// Elements of a channel (1 for rank <= 2), and channels (1 for rank 1).
struct Channels {
  std::int64_t batch, channels, spatial;
};
Channels channels_of(const Call& call, const Shape& shape);

/// Whether a BatchNormalization takes the moments of its batch; fails where no backend does.
bool trains(const Call& call);

void layer_normalization(Call& call);
void rms_normalization(Call& call);
void instance_normalization(Call& call);
void group_normalization(Call& call);

}  // namespace tare::cpu
