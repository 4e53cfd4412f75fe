// RNN, GRU and LSTM as a node describes them, whatever computes them: the attributes, and sizes checked against all
// inputs.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/operators.hpp"
#include "cpu/recurrent_activation.hpp"

namespace tare::cpu {

enum class Cell : std::uint8_t { rnn, gru, lstm };

struct Recurrence {
  /// Throws Error(model) where an attribute is none of ONNX's.
  Recurrence(const Node& node, Cell kind);

  struct Sizes {
    std::int64_t steps;
    std::int64_t batch;
    std::int64_t input;
    std::int64_t hidden;
    std::int64_t gates;  ///< gates × hidden
  };
  /// Fails unless all inputs have the shapes and the type that X and R ask for.
  Sizes check(const Call& call) const;

  bool is_reverse(std::int64_t direction) const { return direction == 1 || reverse_first; }
  /// Whether the recurrent product is two: GRU with the reset before the product.
  bool splits() const { return cell == Cell::gru && !reset_after; }
  /// How many gates take both biases: the last of GRU's recurrent ones is added later when the reset is, too.
  std::int64_t summed_biases(const Sizes& s) const { return cell == Cell::gru && reset_after ? 2 * s.hidden : s.gates; }
  const Activation& activation(std::int64_t direction, std::size_t which) const {
    return activations[static_cast<std::size_t>(direction) * per_direction + which];
  }

  Cell cell;
  bool batch_first;
  bool coupled;
  bool reset_after;
  float clip;  ///< 0: none
  bool reverse_first;
  std::int64_t directions;
  std::size_t per_direction;  ///< activations
  std::vector<Activation> activations;
};

/// Steps of every sequence of the batch.
std::vector<std::int64_t> lengths_of(const Call& call, const Recurrence::Sizes& sizes);

}  // namespace tare::cpu
