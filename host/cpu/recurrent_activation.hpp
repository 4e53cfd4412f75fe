// The activations of RNN, GRU and LSTM: named by an attribute, one list for all directions.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "cpu/vector.hpp"
#include "tare/graph.hpp"

namespace tare::cpu {

struct Activation {
  enum class Kind {
    relu,
    tanh,
    sigmoid,
    affine,
    leaky_relu,
    thresholded_relu,
    scaled_tanh,
    hard_sigmoid,
    elu,
    softsign,
    softplus
  };
  Kind kind = Kind::tanh;
  double alpha = 0;
  double beta = 0;

  template <class T>
  T operator()(T x) const {
    const T a = static_cast<T>(alpha);
    const T b = static_cast<T>(beta);
    switch (kind) {
      case Kind::relu: return std::max(x, T(0));
      case Kind::tanh: return std::tanh(x);
      case Kind::sigmoid: return 1 / (1 + std::exp(-x));
      case Kind::affine: return a * x + b;
      case Kind::leaky_relu: return x >= 0 ? x : a * x;
      case Kind::thresholded_relu: return x >= a ? x : T(0);
      case Kind::scaled_tanh: return a * std::tanh(b * x);
      case Kind::hard_sigmoid: return std::min(std::max(a * x + b, T(0)), T(1));
      case Kind::elu: return x >= 0 ? x : a * std::expm1(x);
      case Kind::softsign: return x / (1 + std::abs(x));
      case Kind::softplus: return std::max(x, T(0)) + std::log1p(std::exp(-std::abs(x)));
    }
    return x;
  }

  /// Of all values, in place.
  template <class T>
  void apply(const VectorKernels& vector, std::span<T> values) const {
    if constexpr (std::is_same_v<T, float>) {
      if (kind == Kind::sigmoid) return vector.unary_sigmoid(values.data(), values.data(), values.size(), 0, 0);
      if (kind == Kind::tanh) return vector.unary_tanh(values.data(), values.data(), values.size(), 0, 0);
    }
    for (T& value : values) value = (*this)(value);
  }
};

/// All activations of all directions; alpha and beta are consumed by those that take them, in order. Throws
/// Error(model) for names that are not known and for too many or too few of them.
std::vector<Activation> activations_of(const Node& node, std::size_t directions,
                                       std::span<const std::string_view> defaults);

}  // namespace tare::cpu
