// Attention: softmax(queries × keys × scale + mask) × values, a block of queries at a time, whose scores stay in cache.
// Keys are laid as columns once for all blocks, so that both products run along memory. A query whose keys are all
// masked gives NaN, as the softmax of ONNX does. Sums are float32 or float64 as the tensors are, whatever
// softmax_precision asks for.
#include "cpu/attention.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu/normalization.hpp"
#include "cpu/softmax.hpp"

namespace tare::cpu {
namespace {

constexpr std::int64_t block = 16;  // queries whose scores are at hand

using View = AttentionView;

template <class T>
class Attention {
 public:
  Attention(Call& call, const View& view) : call_(call), view_(view), vector_(call.device.vector()) {
    prepare();
    Tensor& result = call.output(0, type_of<T>(), attention_shape(call, view));
    result_ = result.mutable_data<T>();
    if (call.wants(3))
      shown_ = call.output(3, type_of<T>(), {view.batch, view.heads, view.queries, view.keys}).template mutable_data<T>();
  }

  void run() const {
    const std::int64_t blocks = (view_.queries + block - 1) / block;
    const std::int64_t work = block * (view_.keys + 1) * (view_.features + view_.value_features + 1);
    call_.device.parallel(view_.batch * view_.heads * blocks, std::max<std::int64_t>(1, 32768 / work),
                          [&](std::int64_t begin, std::int64_t end) {
                            Room room(view_);
                            for (std::int64_t item = begin; item < end; ++item)
                              attend(item / blocks / view_.heads, item / blocks % view_.heads, item % blocks * block,
                                     room);
                          });
  }

 private:
  struct Room {
    explicit Room(const View& view)
        : queries(static_cast<std::size_t>(block * view.features)),
          scores(static_cast<std::size_t>(block * view.keys)),
          results(static_cast<std::size_t>(block * view.value_features)) {}
    std::vector<T> queries, scores, results;
  };

  const T* data(std::size_t input) const { return call_.has(input) ? call_.inputs[input].template data<T>() : nullptr; }

  /// Past positions and new ones of one head, one after the other: body(position, features).
  template <class Body>
  void each_position(const T* past, const HeadStrides& past_strides, const T* now, const HeadStrides& strides,
                     std::int64_t b, std::int64_t h, const Body& body) const {
    for (std::int64_t p = 0; p < view_.keys; ++p)
      body(p, p < view_.past ? past + past_strides.at(b, h, p) : now + strides.at(b, h, p - view_.past));
  }

  /// Keys as [batch, head, feature, position], values as [batch, head, position, feature]; and the caches to come.
  void prepare() {
    const std::int64_t heads = view_.heads / view_.heads_a_key;
    keys_ = call_.device.allocate(type_of<T>(), {view_.batch, heads, view_.features, view_.keys});
    values_ = call_.device.allocate(type_of<T>(), {view_.batch, heads, view_.keys, view_.value_features});
    T* present = call_.wants(1)
                     ? call_.output(1, type_of<T>(), {view_.batch, view_.key_heads, view_.keys, view_.features})
                           .template mutable_data<T>()
                     : nullptr;
    if (call_.wants(2)) call_.outputs[2] = values_;
    T* columns = keys_.mutable_data<T>();
    T* values = values_.mutable_data<T>();
    const std::int64_t size = view_.keys * (view_.features + view_.value_features);
    call_.device.parallel(
        view_.batch * heads, std::max<std::int64_t>(1, 16384 / (size + 1)), [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin; i < end; ++i) {
            const std::int64_t b = i / heads;
            const std::int64_t h = i % heads;
            T* const to = columns + i * view_.features * view_.keys;
            each_position(data(View::past_key_input), view_.past_key, data(View::key_input), view_.key, b, h,
                          [&](std::int64_t p, const T* from) {
                            for (std::int64_t d = 0; d < view_.features; ++d) to[d * view_.keys + p] = from[d];
                            if (present != nullptr)
                              std::copy_n(from, view_.features, present + (i * view_.keys + p) * view_.features);
                          });
            each_position(data(View::past_value_input), view_.past_value, data(View::value_input), view_.value, b, h,
                          [&](std::int64_t p, const T* from) {
                            std::copy_n(from, view_.value_features,
                                        values + (i * view_.keys + p) * view_.value_features);
                          });
          }
        });
  }

  void multiply(const T* a, const T* b, T* c, std::int64_t rows, std::int64_t inner, std::int64_t columns) const {
    if constexpr (std::is_same_v<T, float>) {
      vector_.matrix_product(a, b, c, static_cast<std::size_t>(rows), static_cast<std::size_t>(inner),
                             static_cast<std::size_t>(columns));
    } else {
      std::fill_n(c, rows * columns, T{0});
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t k = 0; k < inner; ++k)
          for (std::int64_t n = 0; n < columns; ++n) c[r * columns + n] += a[r * inner + k] * b[k * columns + n];
    }
  }

  void show(View::Scores stage, const T* scores, std::int64_t row, std::int64_t count) const {
    if (shown_ != nullptr && stage == view_.scores)
      std::copy_n(scores, count * view_.keys, shown_ + row * view_.keys);
  }

  void add_mask(T* scores, std::int64_t b, std::int64_t h, std::int64_t query) const {
    const T nothing = -std::numeric_limits<T>::infinity();
    const AttentionMask& mask = view_.mask;
    const std::int64_t first = b * mask.batch + h * mask.head + query * mask.query;
    if (mask.present && mask.boolean) {
      const bool* counts = call_.inputs[View::mask_input].template data<bool>() + first;
      for (std::int64_t k = 0; k < mask.keys; ++k)
        if (!counts[k * mask.key]) scores[k] += nothing;
    } else if (mask.present) {
      const T* added = call_.inputs[View::mask_input].template data<T>() + first;
      for (std::int64_t k = 0; k < mask.keys; ++k) scores[k] += added[k * mask.key];
    }
    std::int64_t end = mask.present ? mask.keys : view_.keys;
    if (view_.causal) end = std::min(end, view_.past + query + 1);
    if (call_.has(View::lengths_input))
      end = std::clamp<std::int64_t>(call_.inputs[View::lengths_input].template data<std::int64_t>()[b], 0, end);
    for (std::int64_t k = end; k < view_.keys; ++k) scores[k] += nothing;
  }

  void cap(T* scores, std::int64_t count) const {
    const T softcap = static_cast<T>(view_.softcap);
    for (std::int64_t i = 0; i < count; ++i) scores[i] = std::tanh(scores[i] / softcap) * softcap;
  }

  void attend(std::int64_t b, std::int64_t h, std::int64_t first, Room& room) const {
    const std::int64_t count = std::min(block, view_.queries - first);
    const std::int64_t row = (b * view_.heads + h) * view_.queries + first;
    const std::int64_t head = b * (view_.heads / view_.heads_a_key) + h / view_.heads_a_key;
    for (std::int64_t r = 0; r < count; ++r) {
      const T* from = data(View::query_input) + view_.query.at(b, h, first + r);
      std::transform(from, from + view_.features, room.queries.begin() + r * view_.features,
                     [&](T x) { return x * static_cast<T>(view_.scale); });
    }
    T* scores = room.scores.data();
    multiply(room.queries.data(), keys_.data<T>() + head * view_.features * view_.keys, scores, count, view_.features,
             view_.keys);
    show(View::Scores::products, scores, row, count);
    for (std::int64_t r = 0; r < count; ++r) add_mask(scores + r * view_.keys, b, h, first + r);
    show(View::Scores::masked, scores, row, count);
    if (view_.softcap > 0) cap(scores, count * view_.keys);
    show(View::Scores::capped, scores, row, count);
    for (std::int64_t r = 0; r < count && view_.keys > 0; ++r)
      softmax_row(vector_, scores + r * view_.keys, scores + r * view_.keys, view_.keys);
    show(View::Scores::softmax, scores, row, count);
    multiply(scores, values_.data<T>() + head * view_.keys * view_.value_features, room.results.data(), count,
             view_.keys, view_.value_features);
    for (std::int64_t r = 0; r < count; ++r)
      std::copy_n(room.results.data() + r * view_.value_features, view_.value_features,
                  result_ + view_.result.at(b, h, first + r));
  }

  Call& call_;
  const View& view_;
  const VectorKernels& vector_;
  Tensor keys_, values_;
  T* result_ = nullptr;
  T* shown_ = nullptr;
};

void attention(Call& call) {
  const View view = attention_view(call);
  dispatch_real(call, call.input(View::query_input).type(), [&]<class T>() { Attention<T>(call, view).run(); });
}

}  // namespace

void register_attention(OperatorTable& table) {
  table.add("Attention", attention);
}

}  // namespace tare::cpu
