// Which elements an Attention reads and writes, for every backend: ONNX's operator (operands of rank 3 or 4, caches,
// groups of heads) and tare::Attention, which the plan makes of a product, a softmax and a product: operands of rank 4
// whose batches and heads broadcast.
#pragma once

#include <cstdint>

#include "cpu/operators.hpp"
#include "tare/numerics.hpp"

namespace tare::cpu {

/// Elements from a batch, a head or a position to the next; 0 where they share one. The features of a position lie
/// together.
struct HeadStrides {
  std::int64_t batch = 0;
  std::int64_t head = 0;
  std::int64_t position = 0;

  TARE_HD std::int64_t at(std::int64_t b, std::int64_t h, std::int64_t p) const {
    return b * batch + h * head + p * position;
  }
};
/// Of a dense tensor of [batch, head, position, feature].
HeadStrides dense_heads(const Shape& shape);

/// What is added to the scores, or, of booleans, which scores count. Keys from `keys` on do not.
struct AttentionMask {
  bool present = false;
  bool boolean = false;
  std::int64_t keys = 0;
  std::int64_t batch = 0, head = 0, query = 0, key = 0;  ///< elements from one to the next, 0: shared

  /// Where a query's begin.
  TARE_HD std::int64_t first(std::int64_t b, std::int64_t h, std::int64_t q) const {
    return b * batch + h * head + q * query;
  }
};

struct AttentionView {
  static constexpr std::size_t query_input = 0, key_input = 1, value_input = 2, mask_input = 3, past_key_input = 4,
                               past_value_input = 5, lengths_input = 6;
  enum class Scores { products, masked, capped, softmax };  ///< what output 3 shows, as ONNX numbers it

  std::int64_t batch = 0, heads = 0, queries = 0;
  std::int64_t keys = 0;  ///< past ones and new ones
  std::int64_t past = 0;
  std::int64_t features = 0;        ///< of a query and a key
  std::int64_t value_features = 0;  ///< of a value and a result
  std::int64_t key_heads = 0;       ///< of keys and values
  std::int64_t heads_a_key = 1;     ///< heads of queries that share one of them
  HeadStrides query, key, value, result;
  AttentionMask mask;
  double scale = 1;
  float softcap = 0;    ///< 0: none
  bool fills = false;   ///< a query for which no key counts gives zeros, not NaN
  bool causal = false;  ///< a query looks at the past ones and at as many new keys as there are queries up to it
  Scores scores = Scores::products;

  std::int64_t rows() const { return batch * heads * queries; }
  /// Keys from there on do not count for this query and those before it. `lengths`, if any: of the batches' keys.
  TARE_HD std::int64_t end(std::int64_t b, std::int64_t q, const std::int64_t* lengths) const {
    std::int64_t end = mask.present ? mask.keys : keys;
    if (causal && past + q + 1 < end) end = past + q + 1;
    if (lengths != nullptr && lengths[b] < end) end = lengths[b] > 0 ? lengths[b] : 0;
    return end;
  }
};

/// Fails naming the node where the inputs do not fit each other.
AttentionView attention_view(const Call& call);
/// Of output 0.
Shape attention_shape(const Call& call, const AttentionView& view);
/// An operand, behind `past` positions of its cache, as a dense tensor of [batch, head, position, feature]: itself
/// where it lies so.
Tensor in_order(const Call& call, std::size_t input, std::size_t cache, std::int64_t past, const HeadStrides& strides,
                const Shape& shape);

}  // namespace tare::cpu
