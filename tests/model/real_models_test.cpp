// The loader over every model of the ONNX backend tests and the golden models, where they have been fetched.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "support/paths.hpp"
#include "tare/model.hpp"

namespace tare {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> models_below(const fs::path& folder) {
  std::vector<fs::path> result;
  if (!fs::exists(folder)) return result;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder))
    if (entry.path().extension() == ".onnx") result.push_back(entry.path());
  std::sort(result.begin(), result.end());
  return result;
}

/// Every value that is read has been provided before: the order, the inputs and the constants hold together.
void expect_sound(const Graph& graph, const std::string& where) {
  std::vector<bool> known(graph.values.size(), false);
  const auto provide = [&](ValueId id) { known.at(static_cast<std::size_t>(id)) = true; };
  for (const ValueId id : graph.inputs) provide(id);
  for (const ValueId id : graph.captures) provide(id);
  for (const auto& [id, tensor] : graph.constants) {
    provide(id);
    EXPECT_EQ(graph.value(id).type, tensor.type()) << where;
  }
  for (const Node& node : graph.nodes) {
    EXPECT_FALSE(node.name.empty()) << where;
    EXPECT_GE(node.opset, 1) << where;
    for (const ValueId id : node.inputs) {
      if (id == absent) continue;
      EXPECT_TRUE(known.at(static_cast<std::size_t>(id))) << where << ": " << node.label();
    }
    for (const auto& [key, attribute] : node.attributes)
      if (const Subgraph* body = std::get_if<Subgraph>(&attribute)) {
        ASSERT_EQ(body->captures.size(), body->graph->captures.size()) << where;
        for (const ValueId id : body->captures) EXPECT_TRUE(known.at(static_cast<std::size_t>(id))) << where;
        expect_sound(*body->graph, where + " body of " + node.label());
      }
    for (const ValueId id : node.outputs)
      if (id != absent) provide(id);
  }
  for (const ValueId id : graph.outputs) EXPECT_TRUE(known.at(static_cast<std::size_t>(id))) << where;
}

TEST(RealModels, BackendTestModelsLoadAndHoldTogether) {
  const std::vector<fs::path> files = models_below(test::cache_folder() / "onnx-backend-tests");
  if (files.empty()) GTEST_SKIP() << "the ONNX backend tests have not been fetched";
  for (const fs::path& file : files) {
    try {
      expect_sound(load_model(file).graph, file.string());
    } catch (const Error& error) {
      ADD_FAILURE() << file << ": " << error.what();
    }
  }
}

TEST(RealModels, InferredTypesAreTheDeclaredOnes) {
  const std::vector<fs::path> files = models_below(test::cache_folder() / "onnx-backend-tests");
  if (files.empty()) GTEST_SKIP() << "the ONNX backend tests have not been fetched";
  for (const fs::path& file : files) {
    const Model model = load_model(file);
    Graph graph = model.graph;
    for (const Node& node : graph.nodes)
      for (const ValueId id : node.outputs)
        if (id != absent) graph.value(id).type = DataType::undefined;
    infer_types(graph);
    // What passes through a sequence or an optional is not known, and the file does not declare their own type either.
    const bool plain = std::all_of(graph.nodes.begin(), graph.nodes.end(), [](const Node& node) {
      return node.domain.empty() && !node.op_type.starts_with("Sequence") && !node.op_type.ends_with("Sequence") &&
             !node.op_type.starts_with("Optional");
    });
    for (const ValueId id : graph.outputs) {
      const DataType inferred = graph.value(id).type;
      const DataType declared = model.graph.value(id).type;
      if (declared == DataType::undefined || (!plain && inferred == DataType::undefined)) continue;
      EXPECT_EQ(name_of(inferred), name_of(declared)) << file << ": " << graph.value(id).name;
    }
  }
}

TEST(RealModels, GoldenModelsHaveTypedValuesThroughout) {
  const std::vector<fs::path> files = models_below(test::cache_folder() / "models");
  if (files.empty()) GTEST_SKIP() << "the golden models have not been fetched";
  for (const fs::path& file : files) {
    const Graph graph = load_model(file).graph;
    expect_sound(graph, file.string());
    for (const Value& value : graph.values) EXPECT_NE(value.type, DataType::undefined) << file << ": " << value.name;
  }
}

}  // namespace
}  // namespace tare
