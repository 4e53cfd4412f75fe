// NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss, on [N, C, spatial…] scores and [N, spatial…] classes. Classes
// lie on the host, where they are checked. Odd: sums are float64 in a fixed order, but not the host's: a team adds them
// up.
#include <cmath>

#include "launch.hpp"
#include "operators.hpp"
#include "tare/elementary.hpp"

namespace tare::cuda {
namespace {

constexpr std::int64_t ignored_class = -1;

struct Extents {
  std::int64_t batch, classes, spatial;
};

struct Labels {
  Tensor list;  ///< int64, on the device; ignored_class where the label does not count
  Extents extents;
};

Labels read_labels(const Call& call) {
  const Shape& scores = call.input(0).shape();
  const Tensor& labels = call.input(1);
  if (call.input(0).type() != DataType::float32) cpu::fail_type(call, call.input(0).type());
  if (scores.rank() < 2) call.fail("scores of shape " + scores.text() + ": expected [N, C, ...]");
  if (scores[1] == 0) call.fail("scores of shape " + scores.text() + " have no classes");
  Shape expected = scores;
  expected.erase(1);
  if (!(labels.shape() == expected))
    call.fail("labels of shape " + labels.shape().text() + " for scores of shape " + scores.text());
  if (call.has(2) && (call.input(2).type() != DataType::float32 || !(call.input(2).shape() == Shape{scores[1]})))
    call.fail("weights must be one number a class, of the scores' type");
  const bool ignores = call.node.has("ignore_index");
  const std::int64_t ignored = ignores ? call.node.integer("ignore_index") : 0;
  std::vector<std::int64_t> list;
  cpu::dispatch(labels.type(), call, [&]<class T>() {
    if constexpr (!std::is_same_v<T, std::int32_t> && !std::is_same_v<T, std::int64_t>) {
      cpu::fail_type(call, labels.type());
    } else {
      for (const T value : labels.span<T>()) {
        const auto label = static_cast<std::int64_t>(value);
        const bool counts = !ignores || label != ignored;
        if (counts && (label < 0 || label >= scores[1]))
          call.fail(joined("label ", label, " is not one of ", scores[1], " classes"));
        list.push_back(counts ? label : ignored_class);
      }
    }
  });
  return {device_of(call).upload_to<std::int64_t>(list), {scores[0], scores[1], scores.elements(2, scores.rank())}};
}

struct Loss {
  const float* log_probabilities;
  const std::int64_t* labels;
  const float* weights;  ///< may be null
  Extents n;
  __device__ float weight(std::int64_t i) const {
    if (labels[i] == ignored_class) return 0.0f;
    return weights != nullptr ? weights[labels[i]] : 1.0f;
  }
  __device__ float operator()(std::int64_t i) const {
    if (labels[i] == ignored_class) return 0.0f;
    return -log_probabilities[(i / n.spatial * n.classes + labels[i]) * n.spatial + i % n.spatial] * weight(i);
  }
};

struct EachLoss {
  Loss loss;
  float* out;
  __device__ void operator()(std::int64_t i) const { out[i] = loss(i); }
};

struct TotalLoss {
  Loss loss;
  float* out;
  std::int64_t count;
  bool mean;
  __device__ void operator()(std::int64_t, const Team& team) const {
    double sum = 0;
    double weights = 0;
    for (std::int64_t i = team.thread; i < count; i += team.size) {
      sum += static_cast<double>(loss(i));
      weights += static_cast<double>(loss.weight(i));
    }
    sum = team.sum(sum);
    weights = team.sum(weights);
    if (team.thread == 0) *out = static_cast<float>(mean ? sum / weights : sum);
  }
};

void reduce_loss(Call& call, const Tensor& log_probabilities, const Labels& labels) {
  const std::string reduction = call.node.text("reduction", "mean");
  if (reduction != "none" && reduction != "sum" && reduction != "mean")
    call.fail("reduction must be 'none', 'sum' or 'mean', not '" + reduction + "'");
  const Shape shape = call.input(1).shape();
  const Loss loss{log_probabilities.data<float>(), labels.list.data<std::int64_t>(),
                  call.has(2) ? call.input(2).data<float>() : nullptr, labels.extents};
  Tensor& out = call.output(0, DataType::float32, reduction == "none" ? shape : Shape{});
  if (reduction == "none")
    for_each(shape.elements(), stream_of(call), EachLoss{loss, out.mutable_data<float>()});
  else
    for_each_row(1, shape.elements(), stream_of(call),
                 TotalLoss{loss, out.mutable_data<float>(), shape.elements(), reduction == "mean"});
}

struct LogSoftmax {
  const float* in;
  float* out;
  Extents n;
  __device__ void operator()(std::int64_t i, const Team& team) const {
    const std::int64_t first = i / n.spatial * n.classes * n.spatial + i % n.spatial;
    float largest = -elementary::infinity;
    for (std::int64_t c = team.thread; c < n.classes; c += team.size) {
      const float score = in[first + c * n.spatial];
      largest = largest < score ? score : largest;
    }
    largest = team.maximum(largest);
    double sum = 0;
    for (std::int64_t c = team.thread; c < n.classes; c += team.size)
      sum += ::exp(static_cast<double>(in[first + c * n.spatial]) - static_cast<double>(largest));
    const double logarithm = ::log(team.sum(sum)) + static_cast<double>(largest);
    for (std::int64_t c = team.thread; c < n.classes; c += team.size)
      out[first + c * n.spatial] = static_cast<float>(static_cast<double>(in[first + c * n.spatial]) - logarithm);
  }
};

void negative_log_likelihood(Call& call) { reduce_loss(call, call.input(0), read_labels(call)); }

void softmax_cross_entropy(Call& call) {
  const Labels labels = read_labels(call);
  const Tensor scores = call.input(0);
  Tensor logarithms = call.device.allocate(DataType::float32, scores.shape());
  for_each_row(labels.extents.batch * labels.extents.spatial, labels.extents.classes, stream_of(call),
               LogSoftmax{scores.data<float>(), logarithms.mutable_data<float>(), labels.extents});
  reduce_loss(call, logarithms, labels);
  if (call.wants(1)) call.outputs[1] = std::move(logarithms);
}

}  // namespace

void register_loss(OperatorTable& table) {
  table.add("NegativeLogLikelihoodLoss", cpu::checked<negative_log_likelihood, 2>);
  table.add("SoftmaxCrossEntropyLoss", cpu::checked<softmax_cross_entropy, 2>);
}

}  // namespace tare::cuda
