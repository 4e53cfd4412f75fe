// NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss. Inputs are [N, C, spatial…] scores and [N, spatial…] classes.
// Sums run in double, in the order of the elements, on one thread: the same bits for any thread count.
#include <cmath>
#include <optional>

#include "cpu/elementwise.hpp"

namespace tare::cpu {
namespace {

struct Extents {
  std::int64_t batch;
  std::int64_t classes;
  std::int64_t spatial;
};

Extents check(const Call& call) {
  const Shape& scores = call.input(0).shape();
  const Shape& labels = call.input(1).shape();
  if (scores.rank() < 2) call.fail("scores of shape " + scores.text() + ": expected [N, C, ...]");
  if (scores[1] == 0) call.fail("scores of shape " + scores.text() + " have no classes");
  Shape expected = scores;
  expected.erase(1);
  if (!(labels == expected)) call.fail("labels of shape " + labels.text() + " for scores of shape " + scores.text());
  if (call.input(1).type() != DataType::int32 && call.input(1).type() != DataType::int64)
    fail_type(call, call.input(1).type());
  if (call.has(2) && (call.input(2).type() != call.input(0).type() || !(call.input(2).shape() == Shape{scores[1]})))
    call.fail("weights must be one number a class, of the scores' type");
  return {scores[0], scores[1], scores.elements(2, scores.rank())};
}

/// outputs[0] from log-probabilities in plain layout.
template <class T>
void reduce_loss(Call& call, const T* log_probabilities, const Extents& n) {
  const std::string reduction = call.node.text("reduction", "mean");
  if (reduction != "none" && reduction != "sum" && reduction != "mean")
    call.fail("reduction must be 'none', 'sum' or 'mean', not '" + reduction + "'");
  std::optional<std::int64_t> ignored;
  if (call.node.has("ignore_index")) ignored = call.node.integer("ignore_index");
  const Tensor labels = call.input(1);
  const Tensor weights = call.has(2) ? call.input(2) : Tensor();
  const bool keeps_all = reduction == "none";
  Tensor& output = call.output(0, type_of<T>(), keeps_all ? labels.shape() : Shape{});
  T* losses = output.mutable_data<T>();
  double sum = 0;
  double weight_sum = 0;
  for (std::int64_t i = 0; i < n.batch * n.spatial; ++i) {
    const std::int64_t label =
        labels.type() == DataType::int64 ? labels.data<std::int64_t>()[i] : labels.data<std::int32_t>()[i];
    T loss = 0;
    if (label != ignored) {
      if (label < 0 || label >= n.classes)
        call.fail("label " + std::to_string(label) + " is not one of " + std::to_string(n.classes) + " classes");
      const T weight = weights.present() ? weights.data<T>()[label] : T{1};
      const std::int64_t at = (i / n.spatial * n.classes + label) * n.spatial + i % n.spatial;
      loss = -log_probabilities[at] * weight;
      weight_sum += static_cast<double>(weight);
      sum += static_cast<double>(loss);
    }
    if (keeps_all) losses[i] = loss;
  }
  if (!keeps_all) losses[0] = static_cast<T>(reduction == "mean" ? sum / weight_sum : sum);
}

template <class Function>
void by_type(const Call& call, Function&& function) {
  switch (call.input(0).type()) {
    case DataType::float32: return function.template operator()<float>();
    case DataType::float64: return function.template operator()<double>();
    default: fail_type(call, call.input(0).type());
  }
}

void negative_log_likelihood(Call& call) {
  require_inputs(call, 2);
  const Extents n = check(call);
  by_type(call, [&]<class T>() { reduce_loss(call, call.input(0).data<T>(), n); });
}

void softmax_cross_entropy(Call& call) {
  require_inputs(call, 2);
  const Extents n = check(call);
  by_type(call, [&]<class T>() {
    Tensor logarithms = call.device.allocate(type_of<T>(), call.input(0).shape());
    const T* scores = call.input(0).data<T>();
    T* out = logarithms.mutable_data<T>();
    call.device.parallel(n.batch * n.spatial, 64, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t first = i / n.spatial * n.classes * n.spatial + i % n.spatial;
        T largest = scores[first];
        for (std::int64_t c = 1; c < n.classes; ++c) largest = std::max(largest, scores[first + c * n.spatial]);
        double sum = 0;
        for (std::int64_t c = 0; c < n.classes; ++c)
          sum += std::exp(static_cast<double>(scores[first + c * n.spatial]) - static_cast<double>(largest));
        const double logarithm = std::log(sum) + static_cast<double>(largest);
        for (std::int64_t c = 0; c < n.classes; ++c)
          out[first + c * n.spatial] = static_cast<T>(static_cast<double>(scores[first + c * n.spatial]) - logarithm);
      }
    });
    reduce_loss(call, static_cast<const T*>(out), n);
    if (call.wants(1)) call.outputs[1] = std::move(logarithms);
  });
}

}  // namespace

void register_loss(OperatorTable& table) {
  table.add("NegativeLogLikelihoodLoss", negative_log_likelihood);
  table.add("SoftmaxCrossEntropyLoss", softmax_cross_entropy);
}

}  // namespace tare::cpu
