// How the elements of a tensor and the grids of its quantizer lie beside each other in memory, and the loops for that:
// one grid for all, rows that have a grid each (channels of a plain tensor, blocks), or a grid an element of a row
// (channels of a channels_last tensor).
#pragma once

#include <span>
#include <vector>

#include "cpu/vector.hpp"
#include "tare/quantizer.hpp"
#include "tare/tensor.hpp"

namespace tare::cpu {

/// The axes of a tensor's quantizer, counted from the front, -1 where it has none, and how many grids they make.
struct GridAxes {
  std::int64_t channel = -1;
  std::int64_t block = -1;
  std::int64_t channels = 1;
  std::int64_t blocks = 1;  ///< of a channel
};
/// Throws Error(data) naming the quantizer when it does not fit the shape.
GridAxes grid_axes(const TensorEncodings& encodings, const Shape& shape);

class QuantizePlan {
 public:
  /// `encodings` must outlive the plan. Throws Error(data) naming the quantizer when it does not fit the tensor.
  QuantizePlan(const VectorKernels& vector, const Tensor& tensor, const TensorEncodings& encodings, Rounding rounding);

  /// Grids that a thread has made last, of a plan that does not keep them.
  struct Window {
    static constexpr std::int64_t most = 64;
    std::int64_t first = 0;
    std::int64_t count = 0;
    bool by_product = false;
    float members[grid_members * most];
  };

  /// Elements [begin, end) in memory order; `in` and `out` point at the first of them.
  void run(const float* in, float* out, std::int64_t begin, std::int64_t end, Window& window) const;

 private:
  /// A dimension in memory order and what it does to the index of the grid.
  struct Dimension {
    std::int64_t size = 1;
    std::int64_t stride = 0;  ///< grids from one block to the next; 0: it has none
    std::int64_t block = 1;   ///< neighbours that share a grid

    /// As the innermost dimension: a grid an element.
    bool has_columns() const { return stride == 1 && block == 1; }
  };
  /// The loops of one number format.
  struct Loops {
    void (*uniform)(const float*, float*, std::size_t, Grid) = nullptr;
    void (*rows)(const float*, float*, std::size_t, std::size_t, std::size_t, const Grids&) = nullptr;
    void (*columns)(const float*, float*, std::size_t, std::size_t, const Grids&) = nullptr;
  };
  static Loops loops_of(const VectorKernels& vector, NumberFormat format, Rounding rounding);

  void lay_out(const Tensor& tensor, const TensorEncodings& encodings);
  void keep_grids();
  std::int64_t first_grid(std::int64_t row) const;
  /// Grids [first, first + count) to `members`, arrays `pitch` apart; true when all have a reciprocal.
  bool make(std::int64_t first, std::int64_t count, float* members, std::int64_t pitch) const;
  Grids kept_from(std::int64_t grid) const;
  Grid single_grid() const;
  void run_rows(const float* in, float* out, std::int64_t count, std::int64_t at, Window& window) const;

  const VectorKernels& vector_;
  std::span<const Encoding> encodings_;
  double steps_;
  Loops loops_;
  std::vector<Dimension> dimensions_;  ///< memory order; the last one is a row
  std::int64_t channels_ = 1;
  std::int64_t blocks_ = 1;
  bool channels_inner_ = false;  ///< grids are counted [block][channel], and not, as encodings, [channel][block]
  std::vector<float> members_;   ///< of the grids that are kept
  std::int64_t kept_ = 0;        ///< all, or none
  bool by_product_ = false;      ///< of those
  Grid grid_{};                  ///< where there is one
};

}  // namespace tare::cpu
