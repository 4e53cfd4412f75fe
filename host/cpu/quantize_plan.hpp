// How the elements of a tensor and the grids of its quantizer lie beside each other in memory, and the loops for that:
// one grid for all, rows that have a grid each (channels of a plain tensor, blocks), or a grid an element of a row
// (channels of a channels_last tensor).
#pragma once

#include <span>
#include <vector>

#include "cpu/grid_runs.hpp"
#include "cpu/vector.hpp"
#include "tare/quantizer.hpp"
#include "tare/tensor.hpp"

namespace tare::cpu {

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
  /// The loops of one number format.
  struct Loops {
    void (*uniform)(const float*, float*, std::size_t, Grid) = nullptr;
    void (*rows)(const float*, float*, std::size_t, std::size_t, std::size_t, const Grids&) = nullptr;
    void (*columns)(const float*, float*, std::size_t, std::size_t, const Grids&) = nullptr;
  };
  static Loops loops_of(const VectorKernels& vector, NumberFormat format, Rounding rounding);

  void join_dimensions();
  void keep_grids();
  /// Grids [first, first + count) to `members`, arrays `pitch` apart; true when all have a reciprocal.
  bool make(std::int64_t first, std::int64_t count, float* members, std::int64_t pitch) const;
  Grids kept_from(std::int64_t grid) const;
  void run_rows(const float* in, float* out, std::int64_t count, std::int64_t at, Window& window) const;

  const VectorKernels& vector_;
  std::span<const Encoding> encodings_;
  double steps_;
  Loops loops_;
  GridRuns runs_;
  std::int64_t row_;            ///< elements whose grids follow each other: of one dimension, or of two
  bool same_rows_;              ///< every row has the same grids
  std::int64_t neighbours_;     ///< of a row, which share a grid; 1: columns
  std::vector<float> members_;  ///< of the grids that are kept
  std::int64_t kept_ = 0;       ///< all, or none
  bool by_product_ = false;     ///< of those
  Grid grid_{};                 ///< where there is one
};

}  // namespace tare::cpu
