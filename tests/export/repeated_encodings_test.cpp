// Encodings that a file lists beside those of quantizers: what repeats the grid of what it is selected from does not
// act.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "export/derived_encodings.hpp"
#include "support/model_builder.hpp"
#include "tare/session.hpp"

namespace tare::test {
namespace {

EncodingSet on_one_grid(std::initializer_list<const char*> tensors) {
  EncodingSet set;
  for (const char* tensor : tensors) {
    TensorEncodings encodings;
    encodings.tensor = tensor;
    encodings.encodings = {{0, 2.55, 0.01, 0}};
    set.tensors.push_back(encodings);
  }
  return set;
}

/// What is padded with a number keeps it, whatever grid it is listed on; sums of blocks are quantized again.
TEST(RepeatedEncodings, OfSelectedValuesDoNotAct) {
  const TemporaryFolder folder;
  onnx::ModelProto model = empty_model(18);
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {1, 4, 4});
  add_output(graph, "padded", {1, 4, 6});
  add_output(graph, "cut", {1, 4, 4});
  add_output(graph, "sums", {1, 1, 3, 3});
  add_initializer<std::int64_t>(graph, "pads", 7, {6}, {0, 0, 0, 0, 0, 2});
  add_initializer<std::int64_t>(graph, "image", 7, {2}, {3, 3});
  add_initializer<std::int64_t>(graph, "block", 7, {2}, {2, 2});
  add_initializer<float>(graph, "half", 1, {}, {0.505f});
  add_node(graph, "Relu", {"x"}, {"a"});
  add_node(graph, "Pad", {"a", "pads", "half"}, {"padded"});
  add_node(graph, "Clip", {"a", "half"}, {"cut"});
  add_node(graph, "Col2Im", {"a", "image", "block"}, {"sums"});
  Session session(write_model(model, folder / "m.onnx"));
  const EncodingSet acting = acting_encodings(on_one_grid({"a", "half", "padded", "cut", "sums"}), session.graph());
  std::vector<std::string> names;
  for (const TensorEncodings& tensor : acting.tensors) names.push_back(tensor.tensor);
  EXPECT_EQ(names, (std::vector<std::string>{"a", "half", "sums"}));
  session.set_encodings(on_one_grid({"a", "padded", "cut", "sums"}));
  Tensor x = Tensor::host(DataType::float32, {1, 4, 4});
  std::fill_n(x.mutable_data<float>(), x.elements(), 0.312f);
  const std::vector<Tensor> outputs = session.simulate(std::array{x});
  EXPECT_FLOAT_EQ(outputs[0].data<float>()[0], 0.31f);
  EXPECT_FLOAT_EQ(outputs[0].data<float>()[5], 0.505f);
}

}  // namespace
}  // namespace tare::test
