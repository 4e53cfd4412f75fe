// Which encoding of a tensor an element has: encodings stand row-major over [channel, block] (quantizer.hpp). The last
// block of a channel may be a shorter one.
#pragma once

#include <cstddef>
#include <optional>

#include "tare/quantizer.hpp"

namespace tare {

class EncodingIndex {
 public:
  /// Whether the axes are there, counted from the front, and blocks have a size.
  static bool fits(const QuantizerSpec& spec, const Shape& shape) {
    const auto exists = [&](std::optional<int> axis) {
      return !axis || (*axis >= 0 && *axis < static_cast<int>(shape.rank()));
    };
    return exists(spec.channel_axis) && exists(spec.block_axis) && (!spec.block_axis || spec.block_size > 0);
  }

  /// Of a spec that fits the shape.
  EncodingIndex(const QuantizerSpec& spec, const Shape& shape) {
    const auto stride_of = [&](std::size_t axis) {
      return static_cast<std::size_t>(shape.elements(axis + 1, shape.rank()));
    };
    if (spec.channel_axis) {
      const auto axis = static_cast<std::size_t>(*spec.channel_axis);
      channels_ = static_cast<std::size_t>(shape[axis]);
      channel_stride_ = stride_of(axis);
    }
    if (spec.block_axis) {
      const auto axis = static_cast<std::size_t>(*spec.block_axis);
      block_size_ = static_cast<std::size_t>(spec.block_size);
      block_length_ = static_cast<std::size_t>(shape[axis]);
      block_stride_ = stride_of(axis);
      blocks_ = (block_length_ + block_size_ - 1) / block_size_;
    }
  }

  std::size_t channels() const { return channels_; }
  std::size_t blocks() const { return blocks_; }  ///< of a channel
  std::size_t count() const { return channels_ * blocks_; }

  /// Of an element by its number in a plain tensor. Divisions are slow: none for what there is only one of.
  std::size_t operator[](std::size_t element) const {
    const std::size_t channel = channels_ == 1 ? 0 : element / channel_stride_ % channels_;
    if (blocks_ == 1) return channel;
    return channel * blocks_ + element / block_stride_ % block_length_ / block_size_;
  }

 private:
  std::size_t channels_ = 1;
  std::size_t channel_stride_ = 1;
  std::size_t blocks_ = 1;
  std::size_t block_size_ = 1;
  std::size_t block_length_ = 1;
  std::size_t block_stride_ = 1;
};

}  // namespace tare
