// The QDQ export of every real model in ONNX Runtime, node by node: each node of the export runs here on the very
// tensors that ONNX Runtime gave to its own. Integers, and every quantizer as a whole, must agree bit for bit; all
// other nodes to rounding.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "run/executor.hpp"
#include "runtime.hpp"
#include "support/golden.hpp"
#include "tare/export.hpp"
#include "tare/session.hpp"

namespace tare {
namespace {

using test::NamedTensors;

constexpr double largest_nmse = 1e-10;

/// Every tensor that a node of the main graph makes becomes an output.
onnx::ModelProto expose(onnx::ModelProto proto, const Graph& graph) {
  std::set<std::string> known;
  for (const auto& output : proto.graph().output()) known.insert(output.name());
  for (const Node& node : graph.nodes)
    for (const ValueId output : node.outputs) {
      if (output == absent || !known.insert(graph.value(output).name).second) continue;
      onnx::ValueInfoProto& added = *proto.mutable_graph()->add_output();
      added.set_name(graph.value(output).name);
      added.mutable_type()->mutable_tensor_type()->set_elem_type(static_cast<int>(graph.value(output).type));
    }
  return proto;
}

/// One node as a graph of its own: what it reads, captured values of its bodies too, is fed.
class SingleNode {
 public:
  SingleNode(const Graph& whole, const Node& node) : whole_(whole) {
    Node copy = node;
    for (ValueId& input : copy.inputs) input = add(input, true);
    for (auto& [name, attribute] : copy.attributes)
      if (auto* body = std::get_if<Subgraph>(&attribute))
        for (ValueId& capture : body->captures) capture = add(capture, true);
    for (ValueId& output : copy.outputs) {
      output = add(output, false);
      if (output != absent) graph_.outputs.push_back(output);
    }
    graph_.nodes.push_back(std::move(copy));
  }

  std::vector<Tensor> run(Backend& backend, const NamedTensors& tensors) {
    std::vector<Tensor> inputs;
    for (const ValueId input : graph_.inputs) inputs.push_back(tensors.at(graph_.value(input).name));
    return Executor(graph_, backend).run(inputs);
  }
  std::string output(std::size_t i) const { return graph_.value(graph_.outputs[i]).name; }

 private:
  ValueId add(ValueId value, bool read) {
    if (value == absent) return absent;
    if (const auto known = ids_.find(value); known != ids_.end()) return known->second;
    const ValueId id = graph_.add_value(whole_.value(value));
    ids_.emplace(value, id);
    if (const Tensor* constant = whole_.constant(value))
      graph_.constants.emplace(id, *constant);
    else if (read)
      graph_.inputs.push_back(id);
    return id;
  }

  const Graph& whole_;
  Graph graph_;
  std::map<ValueId, ValueId> ids_;
};

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.type() == b.type() && a.shape() == b.shape() && std::equal(a.data(), a.data() + a.bytes(), b.data());
}

/// Normalized mean squared error; infinities must agree, as must the places of NaN.
template <class Expected>
double error_of(const Tensor& ours, std::span<const Expected> expected) {
  if (ours.elements() != static_cast<std::int64_t>(expected.size())) return HUGE_VAL;
  double error = 0;
  double power = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto a = static_cast<double>(ours.data<float>()[i]);
    const auto e = static_cast<double>(expected[i]);
    if (a == e || (std::isnan(a) && std::isnan(e))) {
      if (std::isfinite(e)) power += e * e;
      continue;
    }
    error += (a - e) * (a - e);
    power += e * e;
  }
  if (error == 0) return 0;
  return std::isfinite(error) && power > 0 ? error / power : HUGE_VAL;
}

/// ONNX Runtime computes Sigmoid by a rational approximation that never falls below 1e-8: on inputs far below zero it
/// is the one that is wrong, and ours is held to the function itself.
std::optional<std::vector<double>> exact_values(const Node& node, const Tensor& input) {
  if (node.op_type != "Sigmoid") return {};
  std::vector<double> result;
  for (const float x : input.span<float>()) result.push_back(1 / (1 + std::exp(-static_cast<double>(x))));
  return result;
}

class OnnxRuntime : public testing::TestWithParam<test::GoldenModel> {
 protected:
  /// `integers`: constants as codes, with the biases' too.
  void run(const char* config, int activation_bits, bool integers) {
    Session session(GetParam().model());
    DataOptions few;
    few.samples = few.batch_size = 1;
    const auto data = open_dataset(GetParam().data("inputs.npz"), session.graph(), few);
    CalibrationOptions options;
    options.config = config;
    options.search.scheme = Scheme::min_max;
    options.types.activation.bitwidth = activation_bits;
    encodings_ = session.calibrate(*data, options).encodings;
    data->rewind();
    const Batch batch = *data->next();
    for (std::size_t i = 0; i < batch.inputs.size(); ++i)
      tensors_[session.graph().value(session.graph().inputs[i]).name] = batch.inputs[i];
    for (const auto& [value, constant] : session.graph().constants)
      constants_[session.graph().value(value).name] = constant;
    const test::TemporaryFolder folder;
    EncodingSet written = encodings_;
    if (integers) add_biases(written, session.graph());
    save_qdq_model(session.model(), written, folder / "qdq.onnx",
                   {.prequantize_constants = integers, .moved_tensors = true});
    graph_ = load_model(folder / "qdq.onnx").graph;
    onnx::ModelProto proto;
    ASSERT_TRUE(proto.ParseFromString(test::read_bytes(folder / "qdq.onnx")));
    tensors_.merge(test::run_in_onnxruntime(expose(std::move(proto), graph_), tensors_));
    for (const auto& [value, constant] : graph_.constants) tensors_[graph_.value(value).name] = constant;
  }

  static void add_biases(EncodingSet& set, const Graph& graph) {
    EncodingSet derived = set;
    add_derived_encodings(derived, graph);
    for (const TensorEncodings& tensor : derived.tensors)
      if (tensor.spec.bitwidth == 32) set.tensors.push_back(tensor);
  }
  void compare_nodes();
  void compare_quantizers();

  EncodingSet encodings_;
  Graph graph_;
  NamedTensors tensors_;
  NamedTensors constants_;  ///< of the float model
};

void OnnxRuntime::compare_nodes() {
  const auto backend = make_cpu_backend();
  double worst = 0;
  for (const Node& node : graph_.nodes) {
    SingleNode single(graph_, node);
    const std::vector<Tensor> ours = single.run(*backend, tensors_);
    for (std::size_t i = 0; i < ours.size(); ++i) {
      const Tensor& theirs = tensors_.at(single.output(i));
      const bool bitwise =
          node.op_type == "QuantizeLinear" || node.op_type == "DequantizeLinear" || theirs.type() != DataType::float32;
      if (bitwise) {
        EXPECT_TRUE(same_bits(ours[i], theirs)) << node.label() << ", output " << i;
      } else {
        ASSERT_EQ(ours[i].shape(), theirs.shape()) << node.label();
        double error = error_of(ours[i], theirs.span<float>());
        const auto exact =
            error > largest_nmse ? exact_values(node, tensors_.at(graph_.value(node.inputs[0]).name)) : std::nullopt;
        if (exact) {
          fmt::print("  {}: ONNX Runtime's is {:.1e} off the exact values\n", node.label(),
                     error_of(theirs, std::span<const double>(*exact)));
          error = error_of(ours[i], std::span<const double>(*exact));
        }
        EXPECT_LE(error, largest_nmse) << node.label() << ", output " << i;
        worst = std::max(worst, error);
      }
    }
  }
  fmt::print("{:12} {} nodes, {} tensors; largest NMSE {:.1e}\n", GetParam().name, graph_.nodes.size(), tensors_.size(),
             worst);
}

/// A quantizer as the simulation applies it: what comes out of ONNX Runtime's Q and DQ for the same tensor.
void OnnxRuntime::compare_quantizers() {
  const auto backend = make_cpu_backend();
  std::size_t compared = 0;
  for (TensorEncodings& encodings : encodings_.tensors) {
    const std::string& name = encodings.tensor;
    const bool is_input = tensors_.contains(name + "_dequantized");
    const bool is_float = is_input || tensors_.contains(name + "_unquantized");
    const Tensor& before = is_float ? tensors_.at(is_input ? name : name + "_unquantized")
                                    : constants_.at(name);  // only its codes are there
    const Tensor& after = tensors_.at(is_input ? name + "_dequantized" : name);
    Tensor copy = Tensor::host(before.type(), before.shape());
    std::copy_n(before.data(), before.bytes(), copy.mutable_data());
    const Tensor ours = backend->download(backend->quantize_dequantize(copy, encodings, Rounding::half_even));
    EXPECT_TRUE(same_bits(ours, after)) << name;
    ++compared;
  }
  EXPECT_EQ(compared, encodings_.tensors.size());
}

TEST_P(OnnxRuntime, AgreesNodeByNode) {
  run("default", 8, false);
  compare_nodes();
  compare_quantizers();
}

/// Other quantizers, and 16-bit activations: opset 21.
TEST_P(OnnxRuntime, AgreesNodeByNodeOnHardware) {
  run("htp_v81", 16, false);
  compare_nodes();
  compare_quantizers();
}

/// Integer weights and biases, 16-bit activations: opset 21.
TEST_P(OnnxRuntime, AgreesNodeByNodeOnIntegers) {
  run("default", 16, true);
  compare_nodes();
  compare_quantizers();
}

INSTANTIATE_TEST_SUITE_P(Models, OnnxRuntime, testing::ValuesIn(test::golden_models),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace tare
