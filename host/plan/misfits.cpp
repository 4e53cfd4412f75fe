#include "plan/misfits.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "tare/error.hpp"

namespace tare {
namespace {

using Texts = std::vector<std::string_view>;

/// An attribute of some operators (of ai.onnx), and all that it may say.
struct Vocabulary {
  Texts operators;
  std::string_view attribute;
  Texts words;
};

const std::vector<Vocabulary>& vocabularies() {
  static const std::vector<Vocabulary> all = {
      {{"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "MaxPool", "AveragePool", "LpPool"},
       "auto_pad",
       {"", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"}},
      {{"Pad"}, "mode", {"constant", "reflect", "edge", "wrap"}},
      {{"Resize", "Upsample"}, "mode", {"nearest", "linear", "cubic"}},
      {{"Resize"},
       "coordinate_transformation_mode",
       {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize",
        "tf_half_pixel_for_nn"}},
      {{"Resize"}, "nearest_mode", {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}},
      {{"Resize"}, "keep_aspect_ratio_policy", {"stretch", "not_larger", "not_smaller"}},
      {{"GridSample"}, "mode", {"linear", "bilinear", "nearest", "cubic", "bicubic"}},
      {{"GridSample"}, "padding_mode", {"zeros", "border", "reflection"}},
      {{"RoiAlign"}, "mode", {"avg", "max"}},
      {{"DepthToSpace"}, "mode", {"DCR", "CRD"}},
      {{"RNN", "LSTM", "GRU"}, "direction", {"forward", "reverse", "bidirectional"}},
      {{"BitShift"}, "direction", {"LEFT", "RIGHT"}},
      {{"ScatterElements", "ScatterND"}, "reduction", {"none", "add", "mul", "min", "max"}},
      {{"TensorScatter"}, "mode", {"linear", "circular"}},
      {{"Cast", "CastLike"}, "round_mode", {"up", "down", "nearest"}},
      {{"NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"}, "reduction", {"none", "sum", "mean"}},
      {{"Gelu"}, "approximate", {"none", "tanh"}},
      {{"TfIdfVectorizer"}, "mode", {"TF", "IDF", "TFIDF"}},
      {{"StringNormalizer"}, "case_change_action", {"NONE", "LOWER", "UPPER"}},
  };
  return all;
}

bool among(const Texts& texts, std::string_view text) {
  return std::find(texts.begin(), texts.end(), text) != texts.end();
}

std::string unknown_word(const Node& node) {
  for (const Vocabulary& known : vocabularies()) {
    if (!among(known.operators, node.op_type) || !node.has(known.attribute)) continue;
    const std::string word = node.text(known.attribute);
    if (!among(known.words, word))
      return fmt::format("{} is '{}', not one of {}", known.attribute, word, fmt::join(known.words, ", "));
  }
  return {};
}

class Channels {
 public:
  Channels(const Graph& graph, bool is_body) : graph_(graph), known_(graph.values.size()) {
    if (is_body) return;
    for (const ValueId input : graph.inputs) {  // compared with what the model is fed
      const std::optional<Shape>& shape = graph.value(input).shape;
      if (shape && shape->rank() >= 3 && (*shape)[1] >= 0) of(input) = (*shape)[1];
    }
  }

  /// In the order of the nodes. What is wrong with the channels that a node reads, if anything is.
  std::string pass(const Node& node) {
    if (node.output(0) == absent || node.input(0) == absent) return {};
    const std::optional<std::int64_t> given = of(node.inputs[0]);
    if (keeps_channels(node)) of(node.outputs[0]) = given;
    const bool forward = node.op_type == "Conv";
    if ((!forward && node.op_type != "ConvTranspose") || node.input(1) == absent) return {};
    const Tensor* weights = graph_.constant(node.inputs[1]);
    const std::int64_t groups = node.integer("group", 1);
    if (weights == nullptr || weights->rank() < 3 || groups < 1) return {};
    if (groups > weights->shape()[0]) return fmt::format("{} groups of weights {}", groups, weights->shape().text());
    const std::int64_t wanted = weights->shape()[forward ? 1 : 0] * (forward ? groups : 1);
    of(node.outputs[0]) = weights->shape()[forward ? 0 : 1] * (forward ? 1 : groups);
    if (!given || *given == wanted) return {};
    return fmt::format("its weights {} in {} group{} take {} channels, and '{}' has {}", weights->shape().text(),
                       groups, groups == 1 ? "" : "s", wanted, graph_.value(node.inputs[0]).name, *given);
  }

 private:
  static bool keeps_channels(const Node& node) {
    static constexpr std::string_view names[] = {
        "Relu",    "LeakyRelu", "PRelu",   "Elu",      "Selu",    "Celu",        "Clip",          "Sigmoid",
        "Tanh",    "HardSwish", "Mish",    "Gelu",     "Softmax", "HardSigmoid", "Identity",      "BatchNormalization",
        "MaxPool", "LpPool",    "Dropout", "Softplus", "LRN",     "AveragePool", "GlobalMaxPool", "GlobalAveragePool"};
    return std::find(std::begin(names), std::end(names), node.op_type) != std::end(names);
  }
  std::optional<std::int64_t>& of(ValueId value) { return known_[static_cast<std::size_t>(value)]; }

  const Graph& graph_;
  std::vector<std::optional<std::int64_t>> known_;  ///< channels by value
};

}  // namespace

std::vector<std::string> find_misfits(const Graph& graph, bool is_body) {
  std::vector<std::string> found;
  Channels channels(graph, is_body);
  for (const Node& node : graph.nodes) {
    std::string& text = found.emplace_back();
    if (!node.domain.empty()) continue;
    try {
      text = unknown_word(node);
      if (const std::string wrong = channels.pass(node); text.empty()) text = wrong;
    } catch (const Error& error) {
      text = error.what();
    }
  }
  return found;
}

}  // namespace tare
