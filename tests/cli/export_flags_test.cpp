// What calibrate's flags about its files change in them: biases, signedness, pairs behind what only moves.
#include <algorithm>
#include <set>

#include "cli/command.hpp"
#include "tare/export.hpp"

namespace tare::test {
namespace {

/// x → Conv(w, b) → c → MaxPool → p → Sigmoid → y, c symmetric.
class ExportFlags : public testing::Test {
 protected:
  void SetUp() override {
    onnx::ModelProto model = empty_model(17);
    onnx::GraphProto& graph = *model.mutable_graph();
    add_input(graph, "x", {-1, 3, 8, 8});
    add_output(graph, "y", {-1, 2, 8, 8});
    add_initializer<float>(graph, "w", 1, {2, 3, 1, 1}, {0.5f, -1, 0.25f, 1, 0.125f, -0.5f});
    add_initializer<float>(graph, "b", 1, {2}, {0.5f, -0.25f});
    add_node(graph, "Conv", {"x", "w", "b"}, {"c"});
    add_integers(add_node(graph, "MaxPool", {"c"}, {"p"}), "kernel_shape", {1, 1});
    add_node(graph, "Sigmoid", {"p"}, {"y"});
    write_model(model, folder_ / "m.onnx");
    write_samples(folder_ / "x.npz", 4);
  }
  void calibrate(std::vector<std::string> flags) {
    flags.insert(flags.begin(),
                 {"calibrate", "m.onnx", "--data", "x.npz", "--override", "c:symmetric=true", "--quiet"});
    CommandOptions options;
    options.folder = folder_.path();
    const CommandResult result = tare(flags, options);
    ASSERT_EQ(result.exit_code, 0) << result.errors;
  }
  /// What calibrate prints.
  std::string lines(std::vector<std::string> flags) const {
    flags.insert(flags.begin(), {"calibrate", "m.onnx", "--data", "x.npz"});
    CommandOptions options;
    options.folder = folder_.path();
    return tare(flags, options).output;
  }
  std::set<std::string> listed() const {
    std::set<std::string> names;
    for (const TensorEncodings& tensor : load_encodings(folder_ / "out/m.encodings").tensors)
      names.insert(tensor.tensor);
    return names;
  }
  std::string type_of_c() const {
    const nlohmann::json file = nlohmann::json::parse(read_bytes(folder_ / "out/m.encodings"));
    for (const nlohmann::json& entry : file["encodings"])
      if (entry["name"] == "c") return entry["output_dtype"];
    return "none";
  }
  std::size_t pairs() const {
    const Graph graph = load_model(folder_ / "out/m.qdq.onnx").graph;
    return static_cast<std::size_t>(std::count_if(graph.nodes.begin(), graph.nodes.end(),
                                                  [](const Node& n) { return n.op_type == "QuantizeLinear"; }));
  }
  TemporaryFolder folder_;
};

TEST_F(ExportFlags, Int32Biases) {
  const std::set<std::string> quantizers = {"x", "c", "y", "w"};
  const std::set<std::string> all = {"x", "c", "p", "y", "w", "b"};
  calibrate({});
  EXPECT_EQ(listed(), quantizers);
  calibrate({"--int32-bias"});
  EXPECT_EQ(listed(), (std::set<std::string>{"x", "c", "y", "w", "b"}));
  const EncodingSet set = load_encodings(folder_ / "out/m.encodings");
  EXPECT_EQ(set.find("b", SiteRole::parameter)->spec.bitwidth, 32);
  EXPECT_EQ(set.find("b", SiteRole::parameter)->encodings.size(), 2u);
  calibrate({"--encoding-version", "2.0.0"});
  EXPECT_EQ(listed(), all);
  calibrate({"--encoding-version", "2.0.0", "--no-int32-bias"});
  EXPECT_EQ(listed(), (std::set<std::string>{"x", "c", "p", "y", "w"}));
}

TEST_F(ExportFlags, SignednessOfActivations) {
  for (const auto& [value, type] : {std::pair{"unsigned", "uint8"}, {"signed", "int8"}, {"as-is", "int8"}}) {
    calibrate({"--encoding-version", "2.0.0", "--activations-as", value});
    EXPECT_EQ(type_of_c(), type);
    const Graph graph = load_model(folder_ / "out/m.qdq.onnx").graph;
    EXPECT_EQ(name_of(graph.constant(graph.find("c_zero_point"))->type()), type);
    const bool y_is_signed = graph.constant(graph.find("y_zero_point"))->type() == DataType::int8;
    EXPECT_EQ(y_is_signed, std::string(value) == "signed");
  }
}

/// Version 2.0.0 also lists the bias, which the simulation takes as it is, and p, which is on the grid of c.
TEST_F(ExportFlags, QuantizersThatActAreCountedWhateverTheFileLists) {
  const std::vector<std::vector<std::string>> settings = {
      {},
      {"--int32-bias"},
      {"--encoding-version", "2.0.0"},
      {"--encoding-version", "2.0.0", "--activations-as", "signed"}};
  CommandOptions options;
  options.folder = folder_.path();
  const std::vector<std::string> files = {"m.onnx", "--encodings", "out/m.encodings", "--data", "x.npz"};
  for (const std::vector<std::string>& flags : settings) {
    calibrate(flags);
    std::vector<std::string> line = {"simulate"};
    line.insert(line.end(), files.begin(), files.end());
    EXPECT_THAT(tare(line, options).output, testing::HasSubstr("quantizers  4: 3 of activations, 1 of parameters\n"));
    line.emplace_back("--json");
    for (const char* command : {"simulate", "evaluate"}) {
      line[0] = command;
      if (command == std::string("evaluate")) line.insert(line.end(), {"--metric", "mse"});
      const nlohmann::json report = tare(line, options).json();
      EXPECT_EQ(report["activation_quantizers"], 3) << command;
      EXPECT_EQ(report["parameter_quantizers"], 1) << command;
    }
  }
}

TEST_F(ExportFlags, PairsBehindWhatMoves) {
  calibrate({});
  EXPECT_EQ(pairs(), 5u);  // x, w, c, p, y
  calibrate({"--no-qdq-derived"});
  EXPECT_EQ(pairs(), 4u);
}

TEST_F(ExportFlags, TypesThatTheFilesCannotHoldAreFoundBeforeTheDataAre) {
  CommandOptions options;
  options.folder = folder_.path();
  const auto calibrate_nothing = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"calibrate", "m.onnx", "--data", "none.npz"});
    return tare(flags, options);
  };
  for (const char* flag : {"--param-type", "--activation-type"}) {
    expect_error(calibrate_nothing({flag, "float8e5m2"}), 6,
                 flag + std::string(" float8e5m2: version 1.0.0 of encodings has no float8; use --encoding-version 2"));
    for (const char* type : {"int3", "float8e4m3fn"})
      expect_error(calibrate_nothing({flag, type, "--encoding-version", "2.0.0", "--also", "ort-overrides"}), 6,
                   "--also ort-overrides holds integers of 4, 8 and 16 bits alone; leave it out");
  }
  calibrate({"--activation-type", "float8e5m2", "--encoding-version", "2.0.0"});
  calibrate({"--activation-type", "float16", "--also", "ort-overrides"});
  calibrate({"--activation-type", "float32", "--also", "ort-overrides"});
}

/// What is given is not of the scheme and the types that the flags say.
TEST_F(ExportFlags, SchemeAndTypesAreThoseOfWhatWasSearched) {
  calibrate({"--activation-type", "int16"});
  std::filesystem::rename(folder_ / "out/m.encodings", folder_ / "given.encodings");
  const std::vector<std::string> given = {"--encodings-in", "given.encodings"};
  EXPECT_THAT(lines(given), testing::AllOf(testing::HasSubstr("given       encodings of 4 quantizers\n"),
                                           testing::Not(testing::HasSubstr("scheme"))));
  EXPECT_THAT(lines({given[0], given[1], "--freeze-params"}), testing::HasSubstr("scheme      sqnr, weights int8"));
}

TEST_F(ExportFlags, FilesOfAnEarlierRunAreNamed) {
  const std::string of_all = lines({"--also", "tensorrt", "--prefix", "a"});
  EXPECT_THAT(of_all, testing::Not(testing::HasSubstr("earlier run")));
  EXPECT_THAT(lines({"--prefix", "b"}), testing::Not(testing::HasSubstr("earlier run"))) << "of another prefix";
  const std::string of_some = lines({"--no-qdq", "--prefix", "a"});
  for (const char* file : {"out/a.qdq.onnx", "out/a.trt.cache"})
    EXPECT_THAT(of_some, testing::HasSubstr(std::string(file) + " is of an earlier run"));
  EXPECT_THAT(of_some, testing::Not(testing::HasSubstr("out/a.onnx is of")));
  EXPECT_EQ(nlohmann::json::parse(lines({"--prefix", "a", "--json"}))["older_files"],
            nlohmann::json::array({"out/a.trt.cache"}));
}

/// Before opset 13, Softmax over the second of three axes is written as three operators: no places for quantizers lie
/// between them.
TEST_F(ExportFlags, LintTakesTheModelItWrote) {
  onnx::ModelProto model = empty_model(11);
  add_input(*model.mutable_graph(), "x", {-1, 3, 8, 8});
  add_output(*model.mutable_graph(), "y", {-1, 3, 8, 8});
  add_node(*model.mutable_graph(), "Softmax", {"x"}, {"s"});
  add_node(*model.mutable_graph(), "Neg", {"s"}, {"y"});
  write_model(model, folder_ / "m.onnx");
  CommandOptions options;
  options.folder = folder_.path();
  const auto lint = [&](const std::string& of) {
    return tare({"lint", of, "out/m.encodings", "--json"}, options).json();
  };
  for (const char* version : {"1.0.0", "2.0.0"}) {
    ASSERT_EQ(tare({"calibrate", "m.onnx", "--data", "x.npz", "--encoding-version", version}, options).exit_code, 0);
    ASSERT_NE(load_model(folder_ / "out/m.qdq.onnx").graph.find("s_flat_result"), absent) << "spelled out";
    EXPECT_EQ(lint("out/m.qdq.onnx")["findings"], nlohmann::json::array());
    EXPECT_EQ(lint("out/m.qdq.onnx")["repeated"], lint("m.onnx")["repeated"]);
  }
  // What the model quantizes and the file does not list is still missed.
  nlohmann::json file = nlohmann::json::parse(read_bytes(folder_ / "out/m.encodings"));
  std::erase_if(file["encodings"].get_ref<nlohmann::json::array_t&>(),
                [](const nlohmann::json& entry) { return entry["name"] == "x"; });
  write_bytes(folder_ / "out/m.encodings", file.dump());
  EXPECT_EQ(lint("out/m.qdq.onnx")["findings"].at(0)["tensor"], "x");
}

}  // namespace
}  // namespace tare::test
