// What gathering and scattering share: reading indices, and the walk over index tensors.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/operators.hpp"
#include "cpu/strided_copy.hpp"

namespace tare::cpu {

/// The elements of an int32 or int64 input of any rank.
std::vector<std::int64_t> indices_of(const Call& call, std::size_t input);
/// A possibly negative index made positive; fails naming it when it is out of range.
std::int64_t position_of(const Call& call, std::int64_t index, std::int64_t dim);
/// Fails unless `indices` has the rank of `data` and is no larger outside `axis`.
void check_within(const Call& call, const Shape& indices, const Shape& data, std::size_t axis);

/// Calls body(i, offset) for every element i of an index tensor of shape `shape`: `offset` is the element of `data` at
/// the same coordinates but for `axis`, where it is the index.
template <class Body>
void for_each_element(const Call& call, const std::vector<std::int64_t>& indices, const Shape& shape, const Shape& data,
                      std::size_t axis, Body&& body) {
  const Shape strides = dense_strides(data);
  Shape at(shape.rank(), 0);
  for (std::size_t i = 0; i < indices.size(); ++i) {
    std::int64_t offset = position_of(call, indices[i], data[axis]) * strides[axis];
    for (std::size_t d = 0; d < shape.rank(); ++d)
      if (d != axis) offset += at[d] * strides[d];
    body(static_cast<std::int64_t>(i), offset);
    for (std::size_t d = shape.rank(); d-- > 0;) {
      if (++at[d] < shape[d]) break;
      at[d] = 0;
    }
  }
}

/// What ScatterElements and ScatterND do with an update and the element that is there.
enum class ScatterReduction : std::uint8_t { none, add, multiply, minimum, maximum };
ScatterReduction reduction_of(const Call& call);

/// Index tuples of GatherND and ScatterND: the last dimension of an input addresses slices of `data` after `batch`
/// dims.
class IndexTuples {
 public:
  IndexTuples(const Call& call, std::size_t input, const Shape& data, std::size_t batch);
  std::size_t length() const { return length_; }  ///< entries a tuple
  std::int64_t count() const { return count_; }   ///< tuples
  std::int64_t slice() const { return slice_; }   ///< elements of what a tuple addresses
  /// First element of the slice of tuple i, within its batch.
  std::int64_t offset(std::int64_t i) const { return offsets_[static_cast<std::size_t>(i)]; }

 private:
  std::size_t length_ = 0;
  std::int64_t count_ = 0;
  std::int64_t slice_ = 0;
  std::vector<std::int64_t> offsets_;
};

/// Calls function.operator()<T>() with an unsigned integer (or a pair) of the size of the element type.
template <class Function>
void dispatch_moved(DataType type, Function&& function) {
  struct Sixteen {
    std::uint64_t halves[2];
  };
  switch (size_of(type)) {
    case 1: return function.template operator()<std::uint8_t>();
    case 2: return function.template operator()<std::uint16_t>();
    case 4: return function.template operator()<std::uint32_t>();
    case 8: return function.template operator()<std::uint64_t>();
    default: return function.template operator()<Sixteen>();
  }
}

/// Part of register_indexing.
void register_scatter(OperatorTable&);

}  // namespace tare::cpu
