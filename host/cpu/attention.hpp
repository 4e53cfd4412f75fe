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

/// What is added to the scores, or, of booleans, which scores count. Keys from `keys` on do not.
struct AttentionMask {
  bool present = false;
  bool boolean = false;
  std::int64_t keys = 0;
  std::int64_t batch = 0, head = 0, query = 0, key = 0;  ///< elements from one to the next, 0: shared
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
  std::int64_t key_heads = 0;
  std::int64_t heads_a_key = 1;  ///< heads of queries that share one of keys and values
  HeadStrides query, key, value, past_key, past_value, result;
  AttentionMask mask;
  double scale = 1;
  float softcap = 0;    ///< 0: none
  bool causal = false;  ///< a query looks at the past ones and at as many new keys as there are queries up to it
  Scores scores = Scores::products;

  std::int64_t rows() const { return batch * heads * queries; }
};

/// Fails naming the node where the inputs do not fit each other.
AttentionView attention_view(const Call& call);
/// Of output 0.
Shape attention_shape(const Call& call, const AttentionView& view);

}  // namespace tare::cpu
