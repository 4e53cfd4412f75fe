// A chain of element-wise steps as a program that one kernel runs: plain data for host and device, and the launcher.
// The steps are those of host/cpu/chain_step.hpp.
#pragma once

#include <iterator>

#include "cpu/chain_step.hpp"
#include "float_element.hpp"
#include "launch.hpp"
#include "observe.hpp"

namespace tare::cuda {

inline constexpr int most_chain_steps = 36;
inline constexpr int most_chain_arrays = 12;  ///< inputs, and outputs
inline constexpr int most_chain_saved = 4;    ///< results that wait for a later step than the next
inline constexpr int most_chain_broadcasts = 4;

/// Where a step reads.
struct ChainSource {
  enum class Kind : std::uint8_t {
    last,      ///< what the step before made
    saved,     ///< what an earlier step made
    block,     ///< an input, element by element
    channel,   ///< an input with one element a channel
    single,    ///< an input with one element in all
    constant,  ///< a number of the program
    broadcast  ///< one of the program's
  };
  Kind kind = Kind::last;
  std::uint8_t index = 0;  ///< of the saved result, of the input or of the broadcast
  std::int8_t tap = -1;    ///< at which what is read is counted; -1: it is not
  float number = 0;
};

struct ChainStep {
  cpu::Step::Kind kind{};
  cpu::Formula formula{};
  bool half_up = false;
  std::int8_t saved = -1;   ///< where the result is kept, and
  std::int8_t output = -1;  ///< where it is stored, and
  std::int8_t tap = -1;     ///< at which it is counted; -1: nowhere
  ChainSource sources[2];
  float a = 0;
  float b = 0;
  Grid grid{};
  const float* channels = nullptr;  ///< of an affine step: centers, factors, addends
};

/// An input that is read along loops over the elements, of which there are fewer than 2^31; the innermost loop comes
/// first.
struct ChainBroadcast {
  static constexpr int most_loops = 4;
  const void* in = nullptr;
  int loops = 0;
  bool rows_of_fours = false;   ///< four neighbours lie in one innermost loop
  bool fours = false;           ///< and are read as one
  bool number_of_four = false;  ///< and are one number
  Divider sizes[most_loops];
  std::uint32_t strides[most_loops] = {};

  TARE_HD std::uint32_t offset(std::uint32_t element) const {
    std::uint32_t offset = 0;
    TARE_UNROLL
    for (int loop = 0; loop < most_loops; ++loop) {
      if (loop == loops) break;
      const std::uint32_t outside = sizes[loop].quotient(element);
      offset += (element - outside * sizes[loop].divisor) * strides[loop];
      element = outside;
    }
    return offset;
  }
};

/// What the row step computes with.
struct ChainRows {
  cpu::RowOperation::Kind kind{};
  std::int64_t length = 0;
  double epsilon = 0;
  FloatInput scales;  ///< of a normalization; biases may be absent
  FloatInput biases;
};

struct ChainProgram {
  DataType type = DataType::float32;  ///< of all inputs and outputs: every result is rounded to it
  int steps = 0;
  int row_step = -1;  ///< the step that computes with rows; nothing is saved across it. -1: none
  bool by_channel = false;
  std::int64_t elements = 0;
  std::int64_t spatial = 1;  ///< elements of a channel
  std::int64_t channel_count = 1;
  ChainStep step[most_chain_steps];
  const void* in[most_chain_arrays] = {};
  void* out[most_chain_arrays] = {};
  ChainBroadcast broadcasts[most_chain_broadcasts];
  ChainRows rows;

  bool is_aligned() const {
    const auto holds = [](const void* array) { return cuda::is_aligned(array); };
    return std::all_of(std::begin(in), std::end(in), holds) && std::all_of(std::begin(out), std::end(out), holds);
  }
  /// Whether a result waits for a later step than the next.
  bool saves() const {
    return std::any_of(step, step + steps, [](const ChainStep& s) { return s.saved >= 0; });
  }
};

/// Elements of a row that a launch keeps at hand.
inline constexpr std::int64_t longest_chain_row = 12'000;

/// An output may be the memory of an input that no later step reads. With a row step, elements are those of whole rows
/// of at most longest_chain_row.
void run_chain(const ChainProgram& program, StreamView stream);

/// The sites that a chain counts, by the number of the tap.
struct ChainTaps {
  int count = 0;
  Site* sites[most_taps];
  Exact* partials;  ///< as in SiteMemory, of any of the sites
  unsigned* finished;
};
/// Taps that a launch has room for on the current device: at most most_taps.
int taps_of_a_launch();
/// Whether a program's elements can be counted on their way: arrays are aligned, every thread's fours are whole, and
/// there are fewer than 2^31.
bool can_count(const ChainProgram& program);
/// run_chain() that also counts what comes by at its taps.
void run_counting_chain(const ChainProgram& program, const ChainTaps& taps, StreamView stream);

}  // namespace tare::cuda
