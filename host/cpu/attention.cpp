// Attention: softmax(queries × keys × scale + mask) × values. The products are the library's, a group of heads that
// share keys in one; what is added and the softmax go over the scores in one pass between them. A query whose keys are
// all masked gives NaN, as the softmax of ONNX does. Sums are float32 or float64 as the tensors are, whatever
// softmax_precision asks for.
#include "cpu/attention.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/dnnl_shim.hpp"
#include "cpu/normalization.hpp"
#include "cpu/softmax.hpp"
#include "cpu/strided_copy.hpp"

namespace tare::cpu {
namespace {

using View = AttentionView;

/// The library's two products of one shape.
struct Products {
  dnn::Launch scores, results;
};

/// How many products there are, and their sizes.
struct Sizes {
  std::int64_t groups, rows, keys, features, value_features;
};

/// A product by plain loops: `transposed`, b is [columns, inner] of its group, else [inner, columns].
template <class T>
void multiply(Device& device, const Sizes& s, std::int64_t inner, std::int64_t columns, bool transposed, const T* a,
              const T* b, T* c) {
  const std::int64_t inner_step = transposed ? 1 : columns;
  const std::int64_t column_step = transposed ? inner : 1;
  device.parallel(s.groups * s.rows, std::max<std::int64_t>(1, 8192 / (inner * columns + 1)),
                  [&](std::int64_t begin, std::int64_t end) {
                    for (std::int64_t row = begin; row < end; ++row)
                      for (std::int64_t column = 0; column < columns; ++column) {
                        const T* left = a + row * inner;
                        const T* right = b + row / s.rows * inner * columns + column * column_step;
                        double sum = 0;
                        for (std::int64_t i = 0; i < inner; ++i)
                          sum += static_cast<double>(left[i]) * static_cast<double>(right[i * inner_step]);
                        c[row * columns + column] = static_cast<T>(sum);
                      }
                  });
}

/// The scores of one query, from its products to what weighs the values.
template <class T>
class Row {
 public:
  Row(const Call& call, const View& view, T* shown) : call_(call), view_(view), shown_(shown) {}

  void finish(T* scores, std::int64_t row) const {
    const std::int64_t query = row % view_.queries;
    const std::int64_t head = row / view_.queries % view_.heads;
    const std::int64_t batch = row / view_.queries / view_.heads;
    for (std::int64_t k = 0; k < view_.keys; ++k) scores[k] *= static_cast<T>(view_.scale);
    show(View::Scores::products, scores, row);
    add_mask(scores, batch, head, query);
    show(View::Scores::masked, scores, row);
    if (view_.softcap > 0) {
      const T cap = static_cast<T>(view_.softcap);
      for (std::int64_t k = 0; k < view_.keys; ++k) scores[k] = std::tanh(scores[k] / cap) * cap;
    }
    show(View::Scores::capped, scores, row);
    softmax_row(call_.device.vector(), scores, scores, view_.keys);
    if (view_.fills && scores[0] != scores[0]) std::fill_n(scores, view_.keys, T{0});  // then all of them are NaN
    show(View::Scores::softmax, scores, row);
  }

 private:
  void show(View::Scores stage, const T* scores, std::int64_t row) const {
    if (shown_ != nullptr && stage == view_.scores) std::copy_n(scores, view_.keys, shown_ + row * view_.keys);
  }

  void add_mask(T* scores, std::int64_t batch, std::int64_t head, std::int64_t query) const {
    const T nothing = -std::numeric_limits<T>::infinity();
    const AttentionMask& mask = view_.mask;
    const std::int64_t first = mask.first(batch, head, query);
    if (mask.present && mask.boolean) {
      const bool* counts = call_.inputs[View::mask_input].template data<bool>() + first;
      for (std::int64_t k = 0; k < mask.keys; ++k)
        if (!counts[k * mask.key]) scores[k] += nothing;
    } else if (mask.present) {
      const T* added = call_.inputs[View::mask_input].template data<T>() + first;
      for (std::int64_t k = 0; k < mask.keys; ++k) scores[k] += added[k * mask.key];
    }
    const std::int64_t* lengths =
        call_.has(View::lengths_input) ? call_.inputs[View::lengths_input].data<std::int64_t>() : nullptr;
    for (std::int64_t k = view_.end(batch, query, lengths); k < view_.keys; ++k) scores[k] += nothing;
  }

  const Call& call_;
  const View& view_;
  T* shown_;
};

class AttentionKernel final : public Kernel {
 public:
  explicit AttentionKernel(const Compile& compile) : node_(compile.node), device_(compile.device) {}

  void run(std::span<Tensor> inputs, std::span<Tensor> outputs) override {
    Call call{node_, device_, inputs, outputs};
    const View view = attention_view(call);
    dispatch_real(call, call.input(View::query_input).type(), [&]<class T>() { attend<T>(call, view); });
  }

 private:
  template <class T>
  void attend(Call& call, const View& view) {
    const Shape of_keys{view.batch, view.key_heads, view.keys, view.features};
    const Shape of_values{view.batch, view.key_heads, view.keys, view.value_features};
    const Tensor queries =
        in_order(call, View::query_input, 0, 0, view.query, {view.batch, view.heads, view.queries, view.features});
    const Tensor keys = in_order(call, View::key_input, View::past_key_input, view.past, view.key, of_keys);
    const Tensor values = in_order(call, View::value_input, View::past_value_input, view.past, view.value, of_values);
    if (call.wants(1)) call.outputs[1] = keys;
    if (call.wants(2)) call.outputs[2] = values;
    T* shown = nullptr;
    if (call.wants(3))
      shown =
          call.output(3, type_of<T>(), {view.batch, view.heads, view.queries, view.keys}).template mutable_data<T>();
    Tensor& result = call.output(0, type_of<T>(), attention_shape(call, view));
    if (result.elements() == 0) return;
    if (view.keys == 0) {
      std::fill_n(result.mutable_data<T>(), result.elements(), T{0});
      return;
    }
    const bool in_heads = view.result.position == view.value_features;
    Tensor weighed = in_heads ? result : device_.allocate(type_of<T>(), {view.rows(), view.value_features});
    Tensor scores = device_.allocate(type_of<T>(), {view.rows(), view.keys});
    const Sizes sizes{view.batch * view.key_heads, view.heads_a_key * view.queries, view.keys, view.features,
                      view.value_features};
    Products* products = nullptr;
    if constexpr (std::is_same_v<T, float>) products = products_of(sizes);
    if (products != nullptr)
      run_product(products->scores, queries, keys, scores);
    else
      multiply(device_, sizes, view.features, view.keys, true, queries.data<T>(), keys.data<T>(),
               scores.mutable_data<T>());
    const Row<T> row(call, view, shown);
    device_.parallel(view.rows(), std::max<std::int64_t>(1, 8192 / view.keys),
                     [&](std::int64_t begin, std::int64_t end) {
                       for (std::int64_t i = begin; i < end; ++i)
                         row.finish(scores.mutable_data<T>() + i * view.keys, i);
                     });
    if (products != nullptr)
      run_product(products->results, scores, values, weighed);
    else
      multiply(device_, sizes, view.keys, view.value_features, false, scores.data<T>(), values.data<T>(),
               weighed.mutable_data<T>());
    if (in_heads) return;
    CopyPlan plan;
    const HeadStrides dense = dense_heads({view.batch, view.heads, view.queries, view.value_features});
    plan.add(view.batch, dense.batch, view.result.batch);
    plan.add(view.heads, dense.head, view.result.head);
    plan.add(view.queries, dense.position, view.result.position);
    plan.add(view.value_features, 1, 1);
    plan.run(device_, sizeof(T), weighed.data(), result.mutable_data());
  }

  /// Null where the library has none, or is not wanted.
  Products* products_of(const Sizes& s) {
    if (device_.wide_sums() || s.features == 0) return nullptr;
    cache_.key() = {s.groups, s.rows, s.keys, s.features, s.value_features};
    if (Products* known = cache_.find()) return known;
    constexpr int transposed[] = {0, 2, 1};
    const auto scores = dnn::matmul(device_, dnn::plain({s.groups, s.rows, s.features}),
                                    dnn::permuted({s.groups, s.features, s.keys}, transposed), dnn::none(),
                                    dnn::plain({s.groups, s.rows, s.keys}), {});
    const auto results =
        dnn::matmul(device_, dnn::plain({s.groups, s.rows, s.keys}), dnn::plain({s.groups, s.keys, s.value_features}),
                    dnn::none(), dnn::plain({s.groups, s.rows, s.value_features}), {});
    if (!scores || !results) return nullptr;
    return &cache_.insert({dnn::Launch(*scores), dnn::Launch(*results)});
  }
  void run_product(dnn::Launch& launch, const Tensor& a, const Tensor& b, Tensor& c) {
    launch.set(0, a.data());
    launch.set(1, b.data());
    launch.set(2, c.mutable_data());
    launch.run(device_);
  }

  const Node& node_;
  Device& device_;
  dnn::ShapeCache<Products> cache_;
};

std::unique_ptr<Kernel> make_attention(const Compile& compile) { return std::make_unique<AttentionKernel>(compile); }

}  // namespace

void register_attention(OperatorTable& table) {
  table.add("Attention", Operator{.factory = make_attention});
  table.add("tare::Attention", Operator{.factory = make_attention});
}

}  // namespace tare::cpu
