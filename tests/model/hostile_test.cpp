// Files that lie: each gives one Error that names what is wrong, never a crash or a huge allocation.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "support/model_builder.hpp"
#include "tare/model.hpp"

namespace tare {
namespace {

using test::add_initializer;
using test::add_input;
using test::add_node;
using test::add_output;
using test::TemporaryFolder;

class Hostile : public testing::Test {
 protected:
  void expect_error(const std::string& bytes, const std::string& text) {
    test::write_bytes(folder_ / "model.onnx", bytes);
    try {
      load_model(folder_ / "model.onnx");
      ADD_FAILURE() << "loaded; expected: " << text;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(text));
      EXPECT_THAT(error.what(), testing::HasSubstr("model.onnx"));
    }
  }
  /// A model that is sound but for what `spoil` does to it.
  void expect_spoilt(const std::function<void(onnx::ModelProto&, onnx::GraphProto&)>& spoil, const std::string& text) {
    onnx::ModelProto model = sound();
    spoil(model, *model.mutable_graph());
    expect_error(model.SerializeAsString(), text);
  }
  static onnx::ModelProto sound() {
    onnx::ModelProto model = test::empty_model();
    onnx::GraphProto& graph = *model.mutable_graph();
    add_input(graph, "x", {2});
    add_output(graph, "y", {2});
    add_initializer<float>(graph, "w", 1, {2}, {1, 2});
    add_node(graph, "Add", {"x", "w"}, {"y"}, "add");
    return model;
  }
  TemporaryFolder folder_;
};

TEST_F(Hostile, FilesThatAreNoModels) {
  expect_error("", "empty");
  expect_error("hello, this is text", "truncated, damaged or of another format");
  expect_error("version https://git-lfs.github.com/spec/v1\n", "Git LFS");
  expect_error(onnx::ModelProto().SerializeAsString() + std::string("\x08\x08"), "no graph");
  expect_error(sound().SerializeAsString().substr(0, 60), "truncated");
  EXPECT_THROW(load_model(folder_ / "missing.onnx"), Error);
  EXPECT_THROW(load_model(folder_.path()), Error);
}

TEST_F(Hostile, Shapes) {
  const auto with_dims = [](const std::vector<std::int64_t>& dims) {
    return [dims](onnx::ModelProto&, onnx::GraphProto& graph) {
      graph.mutable_initializer(0)->clear_dims();
      for (const std::int64_t dim : dims) graph.mutable_initializer(0)->add_dims(dim);
    };
  };
  expect_spoilt(with_dims({3}), "initializer 'w': raw_data holds 8 bytes where float32 [3] needs 12");
  expect_spoilt(with_dims({-2}), "negative");
  expect_spoilt(with_dims({std::int64_t{1} << 62, std::int64_t{1} << 62}), "too large");
  expect_spoilt(with_dims({std::int64_t{1} << 62}), "too large");
  expect_spoilt(with_dims({std::int64_t{1} << 50}), "raw_data holds 8 bytes");
  expect_spoilt(with_dims({0, std::int64_t{1} << 62}), "too large");
  expect_spoilt(with_dims(std::vector<std::int64_t>(13, 1)), "13 dimensions");
  expect_spoilt([](auto&, onnx::GraphProto& graph) { graph.mutable_initializer(0)->set_data_type(99); },
                "element type 99");
  expect_spoilt([](auto&, onnx::GraphProto& graph) { graph.mutable_initializer(0)->set_data_type(0); },
                "element type 0");
  expect_spoilt([](auto&, onnx::GraphProto& graph) { graph.mutable_initializer(0)->clear_raw_data(); },
                "float_data holds 0 entries");
}

TEST_F(Hostile, SparseTensors) {
  const auto sparse = [](std::int64_t dim, std::int64_t index) {
    return [dim, index](onnx::ModelProto&, onnx::GraphProto& graph) {
      onnx::SparseTensorProto& tensor = *graph.add_sparse_initializer();
      test::set_tensor(*tensor.mutable_values(), "s", 1, {1});
      test::set_raw<float>(*tensor.mutable_values(), {1});
      test::set_tensor(*tensor.mutable_indices(), "", 7, {1});
      test::set_raw<std::int64_t>(*tensor.mutable_indices(), {index});
      tensor.add_dims(dim);
    };
  };
  expect_spoilt(sparse(std::int64_t{1} << 50, 0), "too large to be made dense");
  expect_spoilt(sparse(4, 4), "outside");
  expect_spoilt(sparse(4, -1), "outside");
}

TEST_F(Hostile, Names) {
  expect_spoilt([](auto&, onnx::GraphProto& graph) { add_node(graph, "Neg", {"x"}, {"y"}); }, "'y' is defined twice");
  expect_spoilt([](auto&, onnx::GraphProto& graph) { add_node(graph, "Neg", {"x"}, {"w"}); }, "'w' is defined twice");
  expect_spoilt([](auto&, onnx::GraphProto& graph) { add_input(graph, "x", {1}); }, "'x' is defined twice");
  expect_spoilt([](auto&, onnx::GraphProto& graph) { add_initializer<float>(graph, "w", 1, {1}, {0}); },
                "defined twice");
  expect_spoilt([](auto&, onnx::GraphProto& graph) { add_initializer<float>(graph, "", 1, {1}, {0}); }, "no name");
  expect_spoilt([](auto&, onnx::GraphProto& graph) { graph.mutable_node(0)->set_input(1, "ghost"); },
                "Add 'add' reads 'ghost', which no node");
  expect_spoilt([](auto&, onnx::GraphProto& graph) { add_output(graph, "ghost", {}); }, "reads 'ghost'");
  expect_spoilt([](auto&, onnx::GraphProto& graph) { graph.clear_output(); }, "no outputs");
  expect_spoilt([](auto&, onnx::GraphProto& graph) { graph.mutable_node(0)->clear_op_type(); }, "no operator");
  expect_spoilt([](onnx::ModelProto& model, auto&) { model.clear_opset_import(); }, "opset");
  expect_spoilt([](onnx::ModelProto& model, auto&) { model.mutable_opset_import(0)->set_version(-3); },
                "opset version -3");
  expect_spoilt([](onnx::ModelProto& model, auto&) { model.mutable_graph()->Clear(); }, "no outputs");
  expect_spoilt([](auto&, onnx::GraphProto& graph) { add_node(graph, "Constant", {}, {"k"}, "k"); },
                "Constant 'k' has no value");
  expect_spoilt([](auto&, onnx::GraphProto& graph) { add_node(graph, "Constant", {}, {}, "k"); }, "one output");
}

TEST_F(Hostile, CyclesNameTheirNodes) {
  expect_spoilt(
      [](auto&, onnx::GraphProto& graph) {
        add_node(graph, "Neg", {"b"}, {"a"}, "first");
        add_node(graph, "Abs", {"a"}, {"b"}, "second");
        add_node(graph, "Abs", {"b"}, {"c"}, "behind");
      },
      "cycle: ");
  expect_spoilt([](auto&, onnx::GraphProto& graph) { add_node(graph, "Neg", {"a"}, {"a"}, "itself"); }, "Neg 'itself'");
}

TEST_F(Hostile, Functions) {
  const auto calling = [](const std::vector<std::pair<std::string, std::string>>& calls) {
    return [calls](onnx::ModelProto& model, onnx::GraphProto& graph) {
      for (const auto& [name, callee] : calls) {
        onnx::FunctionProto& function = *model.add_functions();
        function.set_name(name);
        function.set_domain("mine");
        function.add_input("a");
        function.add_output("b");
        function.add_opset_import()->set_version(17);
        add_node(*function.mutable_node(), callee, {"a"}, {"m"}).set_domain(callee == "Neg" ? "" : "mine");
        add_node(*function.mutable_node(), callee, {"m"}, {"b"}).set_domain(callee == "Neg" ? "" : "mine");
      }
      add_node(graph, calls[0].first, {"x"}, {"z"}, "call").set_domain("mine");
    };
  };
  expect_spoilt(calling({{"F", "F"}}), "calls itself");
  expect_spoilt(calling({{"F", "G"}, {"G", "F"}}), "calls itself");
  expect_spoilt(calling({{"F", "Neg"}, {"F", "Neg"}}), "defined twice");
  std::vector<std::pair<std::string, std::string>> doubling;
  for (int i = 0; i < 60; ++i) doubling.emplace_back(fmt::format("F{}", i), fmt::format("F{}", i + 1));
  doubling.emplace_back("F60", "Neg");
  expect_spoilt(calling(doubling), "nodes once its functions are inlined");
  // Bodies inside of functions count, too: 300 calls of 300 calls of two branches of ten.
  expect_spoilt(
      [](onnx::ModelProto& model, onnx::GraphProto& graph) {
        const auto function = [&](const char* name) -> onnx::FunctionProto& {
          onnx::FunctionProto& made = *model.add_functions();
          made.set_name(name);
          made.set_domain("mine");
          made.add_input("a");
          made.add_output("b");
          made.add_opset_import()->set_version(17);
          return made;
        };
        onnx::FunctionProto& branches = function("Branches");
        onnx::NodeProto& choice = add_node(*branches.mutable_node(), "If", {"a"}, {"b"});
        for (const auto* name : {"then_branch", "else_branch"}) {
          onnx::GraphProto& body = *test::add_attribute(choice, name, onnx::AttributeProto::GRAPH).mutable_g();
          for (int i = 0; i < 10; ++i) add_node(body, "Neg", {"a"}, {fmt::format("n{}", i)});
          body.add_output()->set_name("n0");
        }
        onnx::FunctionProto& calls = function("Calls");
        for (int i = 0; i < 300; ++i) {
          const std::string last = i == 0 ? "b" : fmt::format("b{}", i);
          add_node(*calls.mutable_node(), "Branches", {"a"}, {last}).set_domain("mine");
          add_node(graph, "Calls", {"x"}, {fmt::format("z{}", i)}).set_domain("mine");
        }
      },
      "nodes once its functions are inlined");
  std::vector<std::pair<std::string, std::string>> deep;
  for (int i = 0; i < 5000; ++i) deep.emplace_back(fmt::format("F{}", i), fmt::format("F{}", i + 1));
  deep.emplace_back("F5000", "Neg");
  expect_spoilt(calling(deep), "nested more than");
  expect_spoilt(
      [&](onnx::ModelProto& model, onnx::GraphProto& graph) {
        calling({{"F", "Neg"}})(model, graph);
        graph.mutable_node(1)->add_input("x");
      },
      "the call has 2 and 1");
  expect_spoilt(
      [&](onnx::ModelProto& model, onnx::GraphProto& graph) {
        calling({{"F", "Neg"}})(model, graph);
        model.mutable_functions(0)->set_output(0, "nothing");
      },
      "not provided");
}

TEST_F(Hostile, BodiesNestedWithoutEnd) {
  onnx::ModelProto model = sound();
  onnx::GraphProto inner;
  add_node(inner, "Identity", {"x"}, {"r"});
  inner.add_output()->set_name("r");
  for (int depth = 0; depth < 400; ++depth) {
    onnx::GraphProto around;
    onnx::NodeProto& node = add_node(around, "If", {"x"}, {"r"});
    test::add_attribute(node, "then_branch", onnx::AttributeProto::GRAPH).mutable_g()->Swap(&inner);
    around.add_output()->set_name("r");
    inner.Swap(&around);
  }
  test::add_attribute(add_node(*model.mutable_graph(), "If", {"x"}, {"z"}), "then_branch", onnx::AttributeProto::GRAPH)
      .mutable_g()
      ->Swap(&inner);
  expect_error(model.SerializeAsString(), "truncated, damaged or of another format");
}

/// A model with a bit of everything the loader reads.
onnx::ModelProto rich_model() {
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {-1, 4});
  add_output(graph, "y", {-1, 4});
  add_initializer<float>(graph, "w", 1, {4, 4}, std::vector<float>(16, 1.0f));
  onnx::TensorProto& list = *graph.add_initializer();
  test::set_tensor(list, "b", 1, {4});
  for (int i = 0; i < 4; ++i) list.add_float_data(static_cast<float>(i));
  add_initializer<std::uint8_t>(graph, "nibbles", 22, {3}, {0x21, 0x03});
  add_node(graph, "MatMul", {"x", "w"}, {"h"}, "mm");
  onnx::FunctionProto& function = *model.add_functions();
  function.set_name("F");
  function.set_domain("mine");
  function.add_input("a");
  function.add_output("r");
  function.add_opset_import()->set_version(17);
  add_node(*function.mutable_node(), "Relu", {"a"}, {"r"}, "relu");
  add_node(graph, "F", {"h"}, {"g"}, "call").set_domain("mine");
  onnx::NodeProto& branch = add_node(graph, "If", {"c"}, {"y"}, "if");
  for (const auto* name : {"then_branch", "else_branch"}) {
    onnx::GraphProto& body = *test::add_attribute(branch, name, onnx::AttributeProto::GRAPH).mutable_g();
    add_node(body, "Add", {"g", "b"}, {"t"}, "in");
    body.add_output()->set_name("t");
  }
  onnx::NodeProto& constant = add_node(graph, "Constant", {}, {"c"});
  onnx::TensorProto& value = *test::add_attribute(constant, "value", onnx::AttributeProto::TENSOR).mutable_t();
  test::set_tensor(value, "", 9, {});
  test::set_raw<std::uint8_t>(value, {1});
  return model;
}

TEST_F(Hostile, DamagedBytesEitherLoadOrGiveAnError) {
  const std::string whole = rich_model().SerializeAsString();
  test::write_bytes(folder_ / "model.onnx", whole);
  ASSERT_NO_THROW(load_model(folder_ / "model.onnx"));
  std::size_t refused = 0;
  const auto attempt = [&](const std::string& bytes) {
    test::write_bytes(folder_ / "model.onnx", bytes);
    try {
      load_model(folder_ / "model.onnx");
    } catch (const Error&) {
      ++refused;
    }
  };
  for (std::size_t i = 0; i < whole.size(); ++i) {
    attempt(whole.substr(0, i));
    for (const unsigned mask : {0x01u, 0x80u, 0xffu, 0x10u}) {
      std::string bytes = whole;
      bytes[i] = static_cast<char>(static_cast<unsigned char>(bytes[i]) ^ mask);
      attempt(bytes);
    }
  }
  EXPECT_GT(refused, whole.size());
}

}  // namespace
}  // namespace tare
