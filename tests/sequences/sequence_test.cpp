// Sequences, optional values, strings and the Gradient operator beyond what the ONNX backend tests show: positions at
// the edges, inputs that stay as they were, refusals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run/executor.hpp"
#include "support/model_builder.hpp"
#include "tare/backend.hpp"
#include "tare/model.hpp"

namespace tare {
namespace {

using testing::ElementsAre;
using Attributes = std::map<std::string, Attribute, std::less<>>;

Tensor run(const std::string& op, const std::vector<Tensor>& inputs, const Attributes& attributes = {}) {
  const auto backend = make_cpu_backend({.threads = 1});
  Graph graph;
  Node node{
      .name = "n", .domain = "", .op_type = op, .opset = 20, .inputs = {}, .outputs = {}, .attributes = attributes};
  for (const Tensor& input : inputs)
    node.inputs.push_back(input.present() ? graph.inputs.emplace_back(graph.add_value({"in", input.type(), {}}))
                                          : absent);
  node.outputs = graph.outputs = {graph.add_value({"out", DataType::undefined, {}})};
  graph.nodes.push_back(node);
  std::vector<Tensor> given;
  for (const Tensor& input : inputs)
    if (input.present()) given.push_back(input);
  return Executor(graph, *backend).run(given).at(0);
}

Tensor number(std::int64_t value) { return Tensor::of<std::int64_t>({}, {{value}}); }
Tensor floats(const Shape& shape, const std::vector<float>& values) { return Tensor::of<float>(shape, values); }
Tensor texts(const std::vector<std::string>& values) {
  return Tensor::of<std::string>({static_cast<std::int64_t>(values.size())}, values);
}
template <class T>
std::vector<T> values(const Tensor& tensor) {
  return {tensor.span<T>().begin(), tensor.span<T>().end()};
}
/// A sequence of float scalars.
Tensor scalars(const std::vector<float>& values) {
  std::vector<Tensor> items;
  for (const float value : values) items.push_back(floats({}, {value}));
  return Tensor::sequence(items);
}
std::vector<float> of_scalars(const Tensor& sequence) {
  std::vector<float> result;
  for (const Tensor& item : sequence.items()) result.push_back(*item.data<float>());
  return result;
}

TEST(Sequence, InsertsAtEveryPositionAndRefusesOthers) {
  const Tensor sequence = scalars({1, 2});
  const Tensor item = floats({}, {9});
  EXPECT_THAT(of_scalars(run("SequenceInsert", {sequence, item})), ElementsAre(1, 2, 9));
  EXPECT_THAT(of_scalars(run("SequenceInsert", {sequence, item, number(2)})), ElementsAre(1, 2, 9));
  EXPECT_THAT(of_scalars(run("SequenceInsert", {sequence, item, number(0)})), ElementsAre(9, 1, 2));
  EXPECT_THAT(of_scalars(run("SequenceInsert", {sequence, item, number(-1)})), ElementsAre(1, 9, 2));
  EXPECT_THROW(run("SequenceInsert", {sequence, item, number(3)}), Error);
  EXPECT_THROW(run("SequenceInsert", {sequence, item, number(-3)}), Error);
  EXPECT_THROW(run("SequenceInsert", {sequence, number(1)}), Error) << "another element type";
  EXPECT_THROW(run("SequenceInsert", {item, item}), Error) << "no sequence";
  EXPECT_THAT(of_scalars(sequence), ElementsAre(1, 2)) << "the caller's sequence stays as it was";
}

TEST(Sequence, ErasesAndReadsFromBothEnds) {
  const Tensor sequence = scalars({1, 2, 3});
  EXPECT_THAT(of_scalars(run("SequenceErase", {sequence})), ElementsAre(1, 2));
  EXPECT_THAT(of_scalars(run("SequenceErase", {sequence, number(-3)})), ElementsAre(2, 3));
  EXPECT_THROW(run("SequenceErase", {scalars({})}), Error);
  EXPECT_EQ(*run("SequenceAt", {sequence, number(-1)}).data<float>(), 3);
  EXPECT_THROW(run("SequenceAt", {sequence, number(3)}), Error);
  EXPECT_EQ(*run("SequenceLength", {sequence}).data<std::int64_t>(), 3);
}

TEST(Sequence, SplittingAndJoiningGivesTheTensorBack) {
  const Tensor whole = floats({2, 5}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  const Tensor parts = run("SplitToSequence", {whole, number(2)}, {{"axis", std::int64_t{1}}});
  ASSERT_EQ(parts.items().size(), 3u);
  EXPECT_EQ(parts.items()[2].shape(), (Shape{2, 1}));
  const Tensor joined = run("ConcatFromSequence", {parts}, {{"axis", std::int64_t{-1}}});
  EXPECT_EQ(joined.shape(), whole.shape());
  EXPECT_EQ(values<float>(joined), values<float>(whole));
  const Tensor rows = run("SplitToSequence", {whole}, {{"keepdims", std::int64_t{0}}});
  const Tensor stacked = run("ConcatFromSequence", {rows}, {{"axis", std::int64_t{1}}, {"new_axis", std::int64_t{1}}});
  EXPECT_EQ(stacked.shape(), (Shape{5, 2}));
  EXPECT_THAT(values<float>(stacked), ElementsAre(0, 5, 1, 6, 2, 7, 3, 8, 4, 9));
  EXPECT_THROW(run("SplitToSequence", {whole, number(0)}), Error);
  EXPECT_THROW(run("ConcatFromSequence", {scalars({})}, {{"axis", std::int64_t{0}}}), Error);
}

TEST(Sequence, OperatorsOfNumbersRefuseEverythingElse) {
  for (const Tensor& odd : {scalars({1}), Tensor::none(), texts({"a"})})
    for (const char* op : {"Relu", "Neg", "Softmax", "Transpose", "Not"}) EXPECT_THROW(run(op, {odd}), Error) << op;
  EXPECT_THROW(run("Flatten", {scalars({1})}), Error);
}

TEST(Optional, MissingIsNotEmpty) {
  EXPECT_FALSE(*run("OptionalHasElement", {Tensor::none()}).data<bool>());
  EXPECT_TRUE(*run("OptionalHasElement", {scalars({})}).data<bool>());
  EXPECT_THROW(run("OptionalGetElement", {Tensor::none()}), Error);
}

TEST(Text, NumbersBecomeTextAndComeBack) {
  const Tensor numbers = floats({4}, {1.5f, -0.1f, 1e-20f, std::numeric_limits<float>::infinity()});
  const Tensor text = run("Cast", {numbers}, {{"to", std::int64_t{8}}});
  EXPECT_THAT(values<std::string>(text), ElementsAre("1.5", "-0.1", "1e-20", "INF"));
  EXPECT_EQ(values<float>(run("Cast", {text}, {{"to", std::int64_t{1}}})), values<float>(numbers));
  EXPECT_THAT(values<std::int64_t>(run("Cast", {texts({" 7", "-3"})}, {{"to", std::int64_t{7}}})), ElementsAre(7, -3));
  EXPECT_THROW(run("Cast", {texts({"seven"})}, {{"to", std::int64_t{7}}}), Error);
  EXPECT_THROW(run("Cast", {texts({""})}, {{"to", std::int64_t{1}}}), Error);
}

TEST(Text, PatternsAreRefusedBeforeTheyExhaustTheStack) {
  const auto matches = [](const std::string& text, const std::string& pattern) {
    return *run("RegexFullMatch", {texts({text})}, {{"pattern", pattern}}).data<bool>();
  };
  EXPECT_TRUE(matches("aab", "a+b"));
  EXPECT_FALSE(matches("aabc", "a+b"));
  EXPECT_FALSE(matches(std::string(5000, 'a'), "(a*)*b")) << "and in no exponential time";
  EXPECT_THROW(matches("a", "((((a{0,100}){0,100}){0,100}){0,100})"), Error);
  EXPECT_THROW(matches("a", std::string(20000, '(')), Error);
  EXPECT_THROW(matches("a", std::string(4999, '(') + "a" + std::string(4999, ')')), Error);
  EXPECT_THROW(matches("a", "(?=.*(?=.*b)).*"), Error);
  EXPECT_TRUE(matches("a)", R"((?=[)(?=[:alpha:])]*\))(?!b).*)")) << "parentheses in classes are none";
  EXPECT_THROW(matches("aa", R"((a)\1)"), Error);
  EXPECT_THROW(matches("a", "(a"), Error);
}

TEST(Text, PoolsOfStrings) {
  const Attributes attributes{{"mode", std::string("TF")},
                              {"min_gram_length", std::int64_t{1}},
                              {"max_gram_length", std::int64_t{2}},
                              {"max_skip_count", std::int64_t{0}},
                              {"ngram_counts", std::vector<std::int64_t>{0, 2}},
                              {"ngram_indexes", std::vector<std::int64_t>{0, 1, 2}},
                              {"pool_strings", std::vector<std::string>{"a", "b", "b", "a"}}};
  EXPECT_THAT(values<float>(run("TfIdfVectorizer", {texts({"a", "b", "a", "c", "b"})}, attributes)),
              ElementsAre(2, 2, 1));
}

/// y = a * b + a with b broadcast: dy/da = b + 1, dy/db = the sums of a over its rows.
TEST(Gradient, SumsOverBroadcastDimensions) {
  onnx::ModelProto model = test::empty_model();
  onnx::OperatorSetIdProto& import = *model.add_opset_import();
  import.set_domain("ai.onnx.preview.training");
  import.set_version(1);
  onnx::GraphProto& graph = *model.mutable_graph();
  test::add_input(graph, "a", {2, 3});
  test::add_input(graph, "b", {3});
  for (const char* name : {"da", "db"})
    test::add_output(graph, name, name[1] == 'a' ? std::vector<std::int64_t>{2, 3} : std::vector<std::int64_t>{3});
  test::add_node(graph, "Mul", {"a", "b"}, {"p"});
  test::add_node(graph, "Add", {"p", "a"}, {"y"});
  onnx::NodeProto& gradient = test::add_node(graph, "Gradient", {"a", "b"}, {"da", "db"}, "gradient");
  gradient.set_domain("ai.onnx.preview.training");
  onnx::AttributeProto& xs = test::add_attribute(gradient, "xs", onnx::AttributeProto::STRINGS);
  xs.add_strings("a");
  xs.add_strings("b");
  test::add_attribute(gradient, "y", onnx::AttributeProto::STRING).set_s("y");
  const test::TemporaryFolder folder;
  test::write_model(model, folder / "model.onnx");

  const auto backend = make_cpu_backend({.threads = 1});
  const std::vector<Tensor> inputs{floats({2, 3}, {1, 2, 3, 4, 5, 6}), floats({3}, {10, 20, 30})};
  const std::vector<Tensor> out = Executor(load_model(folder / "model.onnx").graph, *backend).run(inputs);
  EXPECT_THAT(values<float>(out.at(0)), ElementsAre(11, 21, 31, 11, 21, 31));
  EXPECT_THAT(values<float>(out.at(1)), ElementsAre(5, 7, 9));

  graph.mutable_node(0)->set_op_type("MatMul");
  test::write_model(model, folder / "model.onnx");
  EXPECT_THROW(load_model(folder / "model.onnx"), Error) << "a derivative that is not known";
}

}  // namespace
}  // namespace tare
