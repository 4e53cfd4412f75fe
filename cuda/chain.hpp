// A chain of element-wise steps as a program that one kernel runs: plain data for host and device, and the launcher.
// The steps are those of host/cpu/chain_step.hpp.
#pragma once

#include "cpu/chain_step.hpp"
#include "launch.hpp"

namespace tare::cuda {

inline constexpr int most_chain_steps = 40;
inline constexpr int most_chain_arrays = 12;  ///< inputs, and outputs
inline constexpr int most_chain_saved = 4;    ///< results that wait for a later step than the next

/// Where a step reads.
struct ChainSource {
  enum class Kind : std::uint8_t {
    last,      ///< what the step before made
    saved,     ///< what an earlier step made
    block,     ///< an input, element by element
    channel,   ///< an input with one element a channel
    single,    ///< an input with one element in all
    constant,  ///< a number of the program
  };
  Kind kind = Kind::last;
  std::uint8_t index = 0;  ///< of the saved result or of the input
  float number = 0;
};

struct ChainStep {
  cpu::Step::Kind kind{};
  cpu::Formula formula{};
  bool half_up = false;
  std::int8_t saved = -1;   ///< where the result is kept, and
  std::int8_t output = -1;  ///< where it is stored; -1: nowhere
  ChainSource sources[2];
  float a = 0;
  float b = 0;
  Grid grid{};
  const float* channels = nullptr;  ///< of an affine step: centers, factors, addends
};

struct ChainProgram {
  DataType type = DataType::float32;  ///< of all inputs and outputs: every result is rounded to it
  int steps = 0;
  bool by_channel = false;
  std::int64_t elements = 0;
  std::int64_t spatial = 1;  ///< elements of a channel
  std::int64_t channel_count = 1;
  ChainStep step[most_chain_steps];
  const void* in[most_chain_arrays] = {};
  void* out[most_chain_arrays] = {};
};

/// An output may be the memory of an input that no later step reads.
void run_chain(const ChainProgram& program, StreamView stream);

}  // namespace tare::cuda
