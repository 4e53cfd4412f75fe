// Moves elements between two strided views: transposing, slicing, padding, joining, repeating and changing layout are
// all one nest of loops with a stride on either side, so they are planned here and run by one routine. Odd: a stride of
// 0 on the source side repeats an element (or fills), a negative one walks backwards.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "cpu/operators.hpp"

namespace tare::cpu {

/// A nest of loops in any order; strides count elements. Loops of one step are dropped.
class CopyPlan {
 public:
  using Loop = CopyLoop;
  /// Room for a tiled tensor of the highest rank.
  static constexpr std::size_t max_loops = 2 * Shape::max_rank;

  void add(std::int64_t count, std::int64_t from, std::int64_t to) {
    if (count == 0) empty_ = true;
    if (count != 1) loops_[size_++] = {count, from, to};
  }
  /// True when the copy is one contiguous block.
  bool contiguous() const;
  /// Copies from `from` to `to`; both point at the first element that the nest visits.
  void run(const Device& device, std::size_t element_size, const void* from, void* to) const;
  /// The element at `value`, on the host, to every destination. Source strides must be 0.
  void fill(const Device& device, std::size_t element_size, const void* value, void* to) const;

 private:
  /// Of a collapsed plan.
  void run_on_host(const Device& device, std::size_t element_size, const void* from, void* to) const;
  std::span<const Loop> loops() const { return {loops_.data(), size_}; }
  CopyPlan collapsed() const;

  std::array<Loop, max_loops> loops_;
  std::size_t size_ = 0;
  bool empty_ = false;
};

/// Strides of a dense tensor of this shape.
Shape dense_strides(const Shape& shape);
/// Strides by logical dimension, whatever the layout.
Shape strides_of(const Tensor& tensor);

/// Sets `elements` elements at `to` to the element at `value`.
void fill(const Device& device, std::size_t element_size, const void* value, void* to, std::int64_t elements);

}  // namespace tare::cpu
