// QDQ models made by hand, and what taking their quantizers out must not change.
#pragma once

#include <gmock/gmock.h>

#include <algorithm>

#include "support/model_builder.hpp"
#include "tare/export.hpp"
#include "tare/session.hpp"

namespace tare::test {

class QdqModels : public testing::Test {
 protected:
  UnquantizedModel take(const onnx::ModelProto& model) {
    return take_quantizers(load_model(write_model(model, folder_ / "in.onnx")));
  }
  static std::vector<std::string> operators(const Graph& graph) {
    std::vector<std::string> result;
    for (const Node& node : graph.nodes) result.push_back(node.op_type);
    return result;
  }
  static std::vector<std::string> tensors(const EncodingSet& set) {
    std::vector<std::string> result;
    for (const TensorEncodings& tensor : set.tensors) result.push_back(tensor.tensor);
    return result;
  }
  static void add_pair(onnx::GraphProto& graph, const std::string& from, const std::string& codes,
                       const std::string& to, const std::string& grid) {
    add_node(graph, "QuantizeLinear", {from, grid + "_scale", grid + "_zero_point"}, {codes}, "to_" + codes);
    add_node(graph, "DequantizeLinear", {codes, grid + "_scale", grid + "_zero_point"}, {to});
  }
  static void add_grid(onnx::GraphProto& graph, const std::string& name, float scale, std::uint8_t zero_point) {
    add_initializer<float>(graph, name + "_scale", 1, {}, {scale});
    add_initializer<std::uint8_t>(graph, name + "_zero_point", 2, {}, {zero_point});
  }
  /// Simulated with the encodings taken out of it, and exported with them again, the model gives the bits that it gives
  /// as it stands. Returns its parts.
  UnquantizedModel expect_computes_the_same(const onnx::ModelProto& model, const std::vector<Tensor>& inputs) {
    write_model(model, folder_ / "q.onnx");
    const std::vector<Tensor> expected = Session(folder_ / "q.onnx").run(inputs);
    SessionOptions taking;
    taking.take_quantizers = true;
    Session session(folder_ / "q.onnx", taking);
    session.set_encodings(session.held_encodings());
    expect_same_bits(session.simulate(inputs), expected, "simulated");
    save_qdq_model(session.model(), session.held_encodings(), folder_ / "again.onnx");
    expect_same_bits(Session(folder_ / "again.onnx").run(inputs), expected, "exported");
    return take_quantizers(load_model(folder_ / "q.onnx"));
  }
  static void expect_same_bits(const std::vector<Tensor>& found, const std::vector<Tensor>& expected,
                               const std::string& what) {
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      ASSERT_EQ(found[i].type(), expected[i].type()) << what << ", output " << i;
      ASSERT_EQ(found[i].shape(), expected[i].shape()) << what << ", output " << i;
      EXPECT_TRUE(std::equal(found[i].data(), found[i].data() + found[i].bytes(), expected[i].data()))
          << what << ", output " << i;
    }
  }
  TemporaryFolder folder_;
};

}  // namespace tare::test
