#include "bench/support/models.hpp"

#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <random>
#include <set>

#include "support/golden.hpp"
#include "support/paths.hpp"
#include "tare/model.hpp"

namespace tare::bench {
namespace {

namespace fs = std::filesystem;
constexpr int light_batches = 4;

std::vector<std::int64_t> integers_of(const onnx::TensorProto& tensor) {
  if (!tensor.has_raw_data()) return {tensor.int64_data().begin(), tensor.int64_data().end()};
  std::vector<std::int64_t> values(tensor.raw_data().size() / sizeof(std::int64_t));
  std::memcpy(values.data(), tensor.raw_data().data(), tensor.raw_data().size());
  return values;
}

/// Who reads a value, with the position of the input.
using Readers = std::multimap<std::string, std::pair<const onnx::NodeProto*, int>>;

/// Scales and variances are one, shifts and means zero.
float vector_value(const Readers& readers, const std::string& value) {
  const auto [begin, end] = readers.equal_range(value);
  for (auto it = begin; it != end; ++it) {
    const auto& [node, position] = it->second;
    if (node->op_type() == "BatchNormalization") return position == 1 || position == 4 ? 1.0f : 0.0f;
    if (node->op_type() == "Mul") return 1.0f;
    if (node->op_type() == "Unsqueeze") return vector_value(readers, node->output(0));
  }
  return 0.0f;
}

template <class List, class Wanted>
void erase(List& list, const Wanted& wanted) {
  int kept = 0;
  for (int i = 0; i < list.size(); ++i)
    if (!wanted(list.Get(i))) list.SwapElements(i, kept++);
  list.DeleteSubrange(kept, list.size() - kept);
}

void write_copy(const fs::path& original, const fs::path& copy) {
  onnx::ModelProto model;
  std::ifstream in(original, std::ios::binary);
  if (!model.ParseFromIstream(&in))
    throw Error(ErrorKind::io, fmt::format("cannot read '{}'; run `make data`", original.string()));
  fill_weights(model);
  const fs::path unfinished = copy.string() + ".part";
  std::ofstream out(unfinished, std::ios::binary);
  if (!model.SerializeToOstream(&out) || !out.flush())
    throw Error(ErrorKind::io, fmt::format("cannot write '{}': check the space that is left", unfinished.string()));
  fs::rename(unfinished, copy);
}

void write_data(const Graph& graph, const fs::path& file) {
  NpzWriter writer(file);
  std::mt19937 engine(1);
  std::normal_distribution<float> normal;
  for (int batch = 0; batch < light_batches; ++batch)
    for (const ValueId input : graph.inputs) {
      Tensor tensor = Tensor::host(DataType::float32, graph.value(input).shape.value());
      for (float& value : tensor.mutable_span<float>()) value = normal(engine);
      writer.add(fmt::format("{:03}/{}", batch, graph.value(input).name), tensor);
    }
  writer.commit();
}

}  // namespace

/// What becomes an initializer no longer counts as an input.
void fill_weights(onnx::ModelProto& model) {
  onnx::GraphProto& graph = *model.mutable_graph();
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const onnx::TensorProto& tensor : graph.initializer())
    if (tensor.data_type() == onnx::TensorProto::INT64) shapes[tensor.name()] = integers_of(tensor);
  Readers readers;
  for (const onnx::NodeProto& node : graph.node())
    for (int i = 0; i < node.input_size(); ++i) readers.emplace(node.input(i), std::pair{&node, i});

  std::set<std::string> filled_shapes;
  std::vector<onnx::TensorProto> weights;
  for (const onnx::NodeProto& node : graph.node()) {
    if (node.op_type() != "ConstantOfShape" || !shapes.contains(node.input(0))) continue;
    const std::vector<std::int64_t>& shape = shapes[node.input(0)];
    filled_shapes.insert(node.input(0));
    std::size_t elements = 1;
    for (const std::int64_t dim : shape) elements *= static_cast<std::size_t>(dim);
    std::vector<float> values(elements);
    if (shape.size() > 1) {
      const double inputs = static_cast<double>(elements) / static_cast<double>(shape[0]);
      std::mt19937 engine(static_cast<unsigned>(weights.size()) + 1);
      std::normal_distribution<float> normal(0.0f, static_cast<float>(std::sqrt(2.0 / inputs)));
      for (float& value : values) value = normal(engine);
    } else {
      std::fill(values.begin(), values.end(), vector_value(readers, node.output(0)));
    }
    onnx::TensorProto& tensor = weights.emplace_back();
    tensor.set_name(node.output(0));
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    for (const std::int64_t dim : shape) tensor.add_dims(dim);
    tensor.set_raw_data(values.data(), values.size() * sizeof(float));
  }

  std::set<std::string> filled;
  for (const onnx::TensorProto& tensor : weights) filled.insert(tensor.name());
  erase(*graph.mutable_node(), [&](const onnx::NodeProto& node) { return filled.contains(node.output(0)); });
  erase(*graph.mutable_initializer(),
        [&](const onnx::TensorProto& tensor) { return filled_shapes.contains(tensor.name()); });
  for (onnx::TensorProto& tensor : weights) graph.add_initializer()->Swap(&tensor);
  std::set<std::string> constants = filled_shapes;
  for (const onnx::TensorProto& tensor : graph.initializer()) constants.insert(tensor.name());
  erase(*graph.mutable_input(), [&](const onnx::ValueInfoProto& input) { return constants.contains(input.name()); });
  model.set_ir_version(std::max<std::int64_t>(model.ir_version(), 4));  // from 4 on initializers need not be inputs
}

void leave_out_weights(onnx::ModelProto& model) {
  constexpr std::size_t least_bytes = std::size_t{64} << 10;
  onnx::GraphProto& graph = *model.mutable_graph();
  const onnx::GraphProto original = graph;
  const auto is_weight = [](const onnx::TensorProto& tensor) {
    return tensor.data_type() == onnx::TensorProto::FLOAT && tensor.dims_size() > 1 &&
           tensor.raw_data().size() >= least_bytes;
  };
  erase(*graph.mutable_initializer(), is_weight);
  graph.clear_node();
  for (const onnx::TensorProto& tensor : original.initializer()) {
    if (!is_weight(tensor)) continue;
    onnx::TensorProto& shape = *graph.add_initializer();
    shape.set_name(tensor.name() + "_shape");
    shape.set_data_type(onnx::TensorProto::INT64);
    shape.add_dims(tensor.dims_size());
    for (const std::int64_t dim : tensor.dims()) shape.add_int64_data(dim);
    onnx::NodeProto& node = *graph.add_node();
    node.set_op_type("ConstantOfShape");
    node.add_input(shape.name());
    node.add_output(tensor.name());
  }
  graph.mutable_node()->MergeFrom(original.node());  // behind what they read
}

std::vector<Batch> BenchModel::batches(const Graph& graph) const {
  const auto dataset = open_dataset(data, graph);
  std::vector<Batch> result;
  while (auto batch = dataset->next()) result.push_back(std::move(*batch));
  return result;
}

std::vector<BenchModel> bench_models(const fs::path& folder) {
  std::vector<BenchModel> models;
  for (const test::GoldenModel& golden : test::golden_models)
    models.push_back({golden.name, golden.model(), golden.data("inputs.npz")});
  fs::create_directories(folder);
  for (const char* name : {"bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet",
                           "squeezenet", "vgg19", "zfnet512"}) {
    const fs::path original = test::onnx_tests_folder() / "light" / fmt::format("light_{}.onnx", name);
    const BenchModel model{name, folder / fmt::format("{}.onnx", name), folder / fmt::format("{}.npz", name)};
    if (!fs::exists(model.model)) write_copy(original, model.model);
    if (!fs::exists(model.data)) write_data(load_model(model.model).graph, model.data);
    models.push_back(model);
  }
  return models;
}

}  // namespace tare::bench
