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

template <class T>
void multiply(Device& device, const Sizes& s, const T* queries, const T* keys, T* scores) {
  device.parallel(s.groups * s.rows, std::max<std::int64_t>(1, 8192 / (s.keys * s.features + 1)),
                  [&](std::int64_t begin, std::int64_t end) {
                    for (std::int64_t i = begin; i < end; ++i)
                      for (std::int64_t k = 0; k < s.keys; ++k) {
                        const T* key = keys + (i / s.rows * s.keys + k) * s.features;
                        double sum = 0;
                        for (std::int64_t d = 0; d < s.features; ++d)
                          sum += static_cast<double>(queries[i * s.features + d]) * static_cast<double>(key[d]);
                        scores[i * s.keys + k] = static_cast<T>(sum);
                      }
                  });
}
template <class T>
void weigh(Device& device, const Sizes& s, const T* weights, const T* values, T* results) {
  device.parallel(s.groups * s.rows, std::max<std::int64_t>(1, 8192 / (s.keys * s.value_features + 1)),
                  [&](std::int64_t begin, std::int64_t end) {
                    for (std::int64_t i = begin; i < end; ++i)
                      for (std::int64_t d = 0; d < s.value_features; ++d) {
                        const T* value = values + i / s.rows * s.keys * s.value_features + d;
                        double sum = 0;
                        for (std::int64_t k = 0; k < s.keys; ++k)
                          sum += static_cast<double>(weights[i * s.keys + k]) *
                                 static_cast<double>(value[k * s.value_features]);
                        results[i * s.value_features + d] = static_cast<T>(sum);
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
    show(View::Scores::softmax, scores, row);
  }

 private:
  void show(View::Scores stage, const T* scores, std::int64_t row) const {
    if (shown_ != nullptr && stage == view_.scores) std::copy_n(scores, view_.keys, shown_ + row * view_.keys);
  }

  void add_mask(T* scores, std::int64_t batch, std::int64_t head, std::int64_t query) const {
    const T nothing = -std::numeric_limits<T>::infinity();
    const AttentionMask& mask = view_.mask;
    const std::int64_t first = batch * mask.batch + head * mask.head + query * mask.query;
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
      end = std::min(end, std::max<std::int64_t>(0, call_.inputs[View::lengths_input].data<std::int64_t>()[batch]));
    for (std::int64_t k = end; k < view_.keys; ++k) scores[k] += nothing;
  }

  const Call& call_;
  const View& view_;
  T* shown_;
};

/// An operand as [batch, head, position, feature], behind the past ones: itself where it lies so.
Tensor in_order(const Call& call, std::size_t input, std::size_t past, const HeadStrides& strides, const Shape& shape,
                std::int64_t past_positions) {
  const Tensor& tensor = call.input(input);
  const bool in_heads = tensor.rank() == 4 && tensor.shape() == shape && strides.position == shape[3];
  if (past_positions == 0 && in_heads) return tensor;
  Tensor all = call.device.allocate(tensor.type(), shape);
  const std::size_t size = size_of(tensor.type());
  const auto copy = [&](const void* from, const HeadStrides& own, std::int64_t positions, std::int64_t at) {
    CopyPlan plan;
    plan.add(shape[0], own.batch, shape.elements(1, 4));
    plan.add(shape[1], own.head, shape.elements(2, 4));
    plan.add(positions, own.position, shape[3]);
    plan.add(shape[3], 1, 1);
    plan.run(call.device, size, from, all.mutable_data<std::byte>() + static_cast<std::size_t>(at * shape[3]) * size);
  };
  if (past_positions > 0)
    copy(call.input(past).data(), {shape[1] * past_positions * shape[3], past_positions * shape[3], shape[3]},
         past_positions, 0);
  copy(tensor.data(), strides, shape[2] - past_positions, past_positions);
  return all;
}

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
    const std::int64_t heads = view.heads / view.heads_a_key;
    const Tensor queries =
        in_order(call, View::query_input, 0, view.query, {view.batch, view.heads, view.queries, view.features}, 0);
    const Tensor keys = in_order(call, View::key_input, View::past_key_input, view.key,
                                 {view.batch, heads, view.keys, view.features}, view.past);
    const Tensor values = in_order(call, View::value_input, View::past_value_input, view.value,
                                   {view.batch, heads, view.keys, view.value_features}, view.past);
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
    const Sizes sizes{view.batch * heads, view.heads_a_key * view.queries, view.keys, view.features,
                      view.value_features};
    Products* products = nullptr;
    if constexpr (std::is_same_v<T, float>) products = products_of(sizes);
    if (products != nullptr)
      run_product(products->scores, queries, keys, scores);
    else
      multiply(device_, sizes, queries.data<T>(), keys.data<T>(), scores.mutable_data<T>());
    const Row<T> row(call, view, shown);
    device_.parallel(view.rows(), std::max<std::int64_t>(1, 8192 / view.keys),
                     [&](std::int64_t begin, std::int64_t end) {
                       for (std::int64_t i = begin; i < end; ++i)
                         row.finish(scores.mutable_data<T>() + i * view.keys, i);
                     });
    if (products != nullptr)
      run_product(products->results, scores, values, weighed);
    else
      weigh(device_, sizes, scores.data<T>(), values.data<T>(), weighed.mutable_data<T>());
    if (in_heads) return;
    CopyPlan plan;
    plan.add(view.batch, view.heads * view.queries * view.value_features, view.result.batch);
    plan.add(view.heads, view.queries * view.value_features, view.result.head);
    plan.add(view.queries, view.value_features, view.result.position);
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
