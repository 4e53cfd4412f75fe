// No model and no data may crash: models of the ONNX backend tests with their inputs, types and attributes damaged,
// each in dozens of ways. Running one must end in outputs or in an Error. The damage follows from the model's name and
// the number of the attempt alone, so a failure comes back. Odd: what comes out is not looked at; sanitizers look for
// us.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>
#include <new>
#include <random>

#include "plan/control_flow.hpp"
#include "plan/fuse.hpp"
#include "plan/simplify.hpp"
#include "run/executor.hpp"
#include "support/paths.hpp"
#include "tare/backend.hpp"
#include "tare/model.hpp"
#include "tare/placement.hpp"

#if defined(__SANITIZE_ADDRESS__)
// The sanitizer would end the process where memory runs out; outside of it that is an exception like any other.
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1:max_allocation_size_mb=256"; }
void* operator new(std::size_t size) {
  if (void* memory = std::malloc(size); memory != nullptr) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return std::malloc(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
#endif

namespace tare {
namespace {

namespace fs = std::filesystem;

constexpr int attempts = 48;  // a model

class Damage {
 public:
  explicit Damage(unsigned seed) : random_(seed) {}

  void damage_inputs(std::vector<Tensor>& inputs) {
    if (inputs.empty()) return;
    Tensor& victim = inputs[below(inputs.size())];
    if (!victim.present() || victim.type() == DataType::optional) return;
    if (victim.type() == DataType::sequence) {
      victim = below(2) == 0 ? Tensor::sequence({}) : Tensor::none();
    } else if (is_index(victim.type()) && below(3) != 0) {
      victim = integers_damaged(victim);
    } else {
      victim = below(3) == 0 ? type_damaged(victim) : shape_damaged(victim);
    }
  }

  void damage_attribute(Node& node) {
    if (node.attributes.empty()) return;
    auto victim = std::next(node.attributes.begin(), static_cast<std::ptrdiff_t>(below(node.attributes.size())));
    if (below(6) == 0 && !std::holds_alternative<Subgraph>(victim->second)) {
      node.attributes.erase(victim);
      return;
    }
    if (auto* integer = std::get_if<std::int64_t>(&victim->second)) *integer = odd_integer();
    if (auto* real = std::get_if<float>(&victim->second)) *real = odd_real();
    if (auto* text = std::get_if<std::string>(&victim->second)) *text = below(2) == 0 ? "" : "(nonsense";
    if (auto* list = std::get_if<std::vector<std::int64_t>>(&victim->second)) {
      if (list->empty() || below(4) == 0)
        list->push_back(odd_integer());
      else if (below(4) == 0)
        list->pop_back();
      else
        (*list)[below(list->size())] = odd_integer();
    }
    if (auto* list = std::get_if<std::vector<float>>(&victim->second)) {
      if (!list->empty() && below(2) == 0)
        list->pop_back();
      else
        list->push_back(odd_real());
    }
    if (auto* tensor = std::get_if<Tensor>(&victim->second); tensor != nullptr && size_of(tensor->type()) > 0)
      *tensor = shape_damaged(*tensor);
  }

  /// Leaves out an input or an output, or reads another value instead.
  void damage_wiring(Graph& graph, Node& node) {
    switch (below(5)) {
      case 0:
        if (!node.inputs.empty()) node.inputs.pop_back();
        break;
      case 4:
        for (ValueId& output : node.outputs)
          if (output != absent && is_unread(graph, output)) output = absent;
        break;
      case 1:
        if (!node.inputs.empty()) node.inputs[below(node.inputs.size())] = absent;
        break;
      case 2:
        if (!node.inputs.empty() && !graph.inputs.empty())
          node.inputs[below(node.inputs.size())] = graph.inputs[below(graph.inputs.size())];
        break;
      default:
        if (!graph.inputs.empty()) node.inputs.push_back(graph.inputs[below(graph.inputs.size())]);
        break;
    }
  }

  std::size_t below(std::size_t limit) { return random_() % limit; }

 private:
  static bool is_unread(const Graph& graph, ValueId value) {
    const auto holds = [&](const std::vector<ValueId>& list) {
      return std::find(list.begin(), list.end(), value) != list.end();
    };
    return !holds(graph.outputs) &&
           std::none_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) { return holds(node.inputs); });
  }
  static bool is_index(DataType type) { return type == DataType::int64 || type == DataType::int32; }

  std::int64_t odd_integer() {
    constexpr std::int64_t limit = std::numeric_limits<std::int64_t>::max();
    constexpr std::int64_t values[] = {0,
                                       1,
                                       -1,
                                       2,
                                       3,
                                       -3,
                                       7,
                                       100,
                                       -100,
                                       std::int64_t{1} << 31,
                                       std::int64_t{1} << 40,
                                       -(std::int64_t{1} << 40),
                                       limit,
                                       -limit - 1};
    return values[below(std::size(values))];
  }
  float odd_real() {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    constexpr float values[] = {0.0f,   -1.0f,    1e-30f,    1e30f,
                                -1e30f, infinity, -infinity, std::numeric_limits<float>::quiet_NaN()};
    return values[below(std::size(values))];
  }

  Tensor integers_damaged(const Tensor& tensor) {
    Tensor copy = zeros(tensor.type(), tensor.shape());
    const bool all = below(2) == 0;
    const std::int64_t odd = odd_integer();
    const std::size_t one = tensor.elements() > 0 ? below(static_cast<std::size_t>(tensor.elements())) : 0;
    const auto write = [&]<class T>() {
      for (std::size_t i = 0; i < tensor.span<T>().size(); ++i)
        copy.mutable_data<T>()[i] = all || i == one ? static_cast<T>(odd) : tensor.data<T>()[i];
    };
    tensor.type() == DataType::int64 ? write.operator()<std::int64_t>() : write.operator()<std::int32_t>();
    return copy;
  }

  static Tensor zeros(DataType type, const Shape& shape) {
    Tensor tensor = Tensor::host(type, shape);
    std::memset(tensor.mutable_data(), 0, tensor.bytes());
    return tensor;
  }

  Tensor type_damaged(const Tensor& tensor) {
    constexpr DataType types[] = {DataType::float32,   DataType::int64,   DataType::int32,     DataType::uint8,
                                  DataType::boolean,   DataType::float16, DataType::int4,      DataType::float64,
                                  DataType::uint64,    DataType::string,  DataType::complex64, DataType::uint2,
                                  DataType::float8e8m0};
    const std::size_t choice = below(std::size(types) + 2);
    if (choice == std::size(types)) return Tensor::sequence({tensor});
    if (choice > std::size(types)) return Tensor::none();
    return types[choice] == DataType::string ? Tensor::host(DataType::string, tensor.shape())
                                             : zeros(types[choice], tensor.shape());
  }

  Tensor shape_damaged(const Tensor& tensor) {
    Shape shape = tensor.shape();
    const std::size_t rank = shape.rank();
    switch (below(7)) {
      case 0: shape = Shape(); break;
      case 1: shape = {tensor.elements()}; break;
      case 2:
        if (rank < Shape::max_rank) shape.insert(0, 1);
        break;
      case 3:
        if (rank > 0) shape.erase(below(rank));
        break;
      case 4:
        if (rank > 0) shape[below(rank)] = 0;
        break;
      case 5:
        if (rank > 0) shape[below(rank)] += 1;
        break;
      default:
        if (rank > 0) shape[below(rank)] = 1;
        break;
    }
    if (tensor.type() == DataType::string) return Tensor::host(tensor.type(), shape);
    Tensor copy = zeros(tensor.type(), shape);
    if (copy.bytes() > 0) std::memcpy(copy.mutable_data(), tensor.data(), std::min(copy.bytes(), tensor.bytes()));
    return copy;
  }

  std::mt19937 random_;
};

bool has_control_flow(const Graph& graph) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), is_control_flow);
}

class DamagedModel : public testing::Test {
 public:
  explicit DamagedModel(fs::path folder) : folder_(std::move(folder)) {}

  void TestBody() override {
    const auto backend = make_cpu_backend({.threads = 2});
    Model model = load_model(folder_ / "model.onnx");
    if (model.graph.nodes.empty()) GTEST_SKIP() << "no operator";
    std::vector<Tensor> inputs;
    for (const ValueId input : model.graph.inputs) {
      const fs::path file = folder_ / fmt::format("test_data_set_0/input_{}.pb", inputs.size());
      if (!fs::exists(file)) GTEST_SKIP() << "no data";
      inputs.push_back(load_value(file, model.graph.value(input).type));
    }
    for (int attempt = 0; attempt < attempts; ++attempt) {
      SCOPED_TRACE(fmt::format("attempt {}", attempt));
      run(*backend, model.graph, inputs, attempt);
    }
  }

 private:
  void run(Backend& backend, Graph graph, std::vector<Tensor> inputs, int attempt) {
    std::size_t seed = static_cast<std::size_t>(attempt);
    for (const char c : folder_.filename().string()) seed = seed * 31 + static_cast<unsigned char>(c);
    Damage damage(static_cast<unsigned>(seed));
    Node& node = graph.nodes[damage.below(graph.nodes.size())];
    // A damaged loop may run for years, as it is told to.
    const bool loops = has_control_flow(graph);
    const std::size_t kind = loops ? 1 : damage.below(5);
    if (kind == 0) damage.damage_wiring(graph, node);
    if (kind == 1 || kind == 2) damage.damage_attribute(node);
    if (kind > 2 || (!loops && damage.below(4) == 0)) damage.damage_inputs(inputs);
    try {
      place(graph, load_config("htp_v81"), {});
    } catch (const Error& error) {
      EXPECT_STRNE(error.what(), "");
    }
    // What the graph declares would be refused before it reaches an operator.
    for (Value& value : graph.values) {
      value.type = DataType::undefined;
      value.shape.reset();
    }
    try {
      const std::vector<bool> nothing_visible(graph.values.size(), false);
      const bool joined = attempt % 2 == 1;
      Executor executor(joined ? make_runnable(std::move(graph), nothing_visible, backend)
                               : simplify(std::move(graph), nothing_visible, backend),
                        backend);
      for (const Tensor& output : executor.run(inputs)) EXPECT_TRUE(output.present());
    } catch (const Error& error) {
      EXPECT_STRNE(error.what(), "");
    }
  }

  fs::path folder_;
};

/// Sizes that a damaged shape asks for must fail, not bring the machine down. Sanitizers need the address space.
void limit_memory() {
#if !defined(__SANITIZE_ADDRESS__)
  const rlimit limit{std::size_t{3} << 30, std::size_t{3} << 30};
  setrlimit(RLIMIT_AS, &limit);
#endif
}

}  // namespace
}  // namespace tare

int main(int argc, char** argv) {
  using namespace tare;
  testing::InitGoogleTest(&argc, argv);
  const fs::path root = test::onnx_tests_folder() / "node";
  std::vector<std::string> names;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(root, missing)) {
    const std::string name = entry.path().filename().string();
    // The expanded forms hold other operators' nodes, ten times as many.
    if (fs::exists(entry.path() / "model.onnx") && name.find("expanded") == std::string::npos) names.push_back(name);
  }
  if (missing || names.empty()) {
    fmt::print(stderr, "{}: no ONNX backend tests here; run `make data`\n", root.string());
    return 1;
  }
  std::sort(names.begin(), names.end());
  limit_memory();
  for (const std::string& name : names)
    testing::RegisterTest("damaged", name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                          [folder = root / name] { return new DamagedModel(folder); });
  return RUN_ALL_TESTS();
}
