// Chains that count on their way what they read and make, with a device whose caches hold next to nothing: against
// observers of whole tensors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "chains/graphs.hpp"
#include "cuda_host/one_node.hpp"
#include "cuda_host/stand_in.hpp"
#include "plan/chains.hpp"
#include "run/executor.hpp"
#include "support/halves.hpp"
#include "tare/cuda.hpp"

namespace tare::test {
namespace {

using testing::Each;
using testing::ElementsAre;

class CountingChain : public testing::Test {
 protected:
  void SetUp() override {
    before_ = stand_in().cache_bytes;
    stand_in().cache_bytes = 1024;
    backend_ = cuda::make_cuda_backend();
    host_ = make_cpu_backend({.threads = 1});
  }
  void TearDown() override { stand_in().cache_bytes = before_; }

  struct Hook final : ValueHook {
    Hook(Backend& backend, ObserverKind kind, std::size_t sites) : observer(backend.make_observer(kind, sites)) {}
    Tap tap(std::size_t site) override { return {observer.get(), site}; }
    Tensor on_value(std::size_t, Tensor value) override {
      ADD_FAILURE() << "a value that no chain observes";
      return value;
    }
    std::unique_ptr<Observer> observer;
  };

  /// Runs a graph of one chain whose values all have a site of their own, or `site` all of them. The statistics, and
  /// those of the values of the graph's nodes one by one on the host.
  void expect_same_statistics(const Graph& graph, const std::vector<Tensor>& inputs, const std::string& where,
                              int site = -1) {
    std::vector<bool> visible(graph.values.size(), true);
    std::vector<std::int32_t> sites;
    for (std::size_t v = 0; v < graph.values.size(); ++v)
      sites.push_back(site >= 0 ? site : static_cast<std::int32_t>(v));
    const Graph chain = join_chains(graph, visible, *backend_, Visible::observed);
    ASSERT_EQ(chain.nodes.size(), 1u) << where;
    for (const ObserverKind kind : {ObserverKind::histogram, ObserverKind::min_max}) {
      const auto expected = host_->make_observer(kind, graph.values.size());
      struct Whole final : ValueHook {
        explicit Whole(Observer& o) : observer(o) {}
        Tensor on_value(std::size_t value, Tensor tensor) override {
          observer.observe(value, tensor);
          return tensor;
        }
        Observer& observer;
      } whole(*expected);
      Hook hook(*backend_, kind, graph.values.size());
      Executor executor(chain, *backend_, sites);
      const std::vector<Tensor> want = Executor(graph, *host_, sites).run(inputs, &whole);
      const std::vector<Tensor> have = executor.run(inputs, &hook);
      ASSERT_EQ(have.size(), want.size());
      for (std::size_t o = 0; o < want.size(); ++o) expect_same_values(have[o], want[o], where);
      EXPECT_EQ(hook.observer->collect(), expected->collect()) << where;
    }
  }

  static void expect_same_values(const Tensor& have, const Tensor& want, const std::string& where) {
    ASSERT_EQ(have.type(), want.type()) << where;
    ASSERT_EQ(have.shape(), want.shape()) << where;
    if (have.type() == DataType::float32) {
      const auto backend = make_cpu_backend();
      for (std::int64_t i = 0; i < have.elements(); ++i) {
        const float a = have.data<float>()[i];
        const float b = want.data<float>()[i];
        ASSERT_TRUE(bits_of(a) == bits_of(b) || (std::isnan(a) && std::isnan(b))) << where << ", element " << i;
      }
    } else {
      EXPECT_EQ(std::memcmp(have.data(), want.data(), want.bytes()), 0) << where;
    }
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Backend> host_;

 private:
  int before_ = 0;
};

/// Normalization and ReLU: three values.
Graph normal_relu(std::int64_t channels) {
  Builder b;
  const ValueId x = b.input("x");
  b.output(b.node("Relu", {b.batch_norm(x, static_cast<std::size_t>(channels))}));
  return b.graph;
}

TEST_F(CountingChain, CountsAllSizes) {
  for (const Shape& shape :
       {Shape{1, 4, 8, 8}, Shape{1, 1, 1, 4}, Shape{2, 3, 8, 17}, Shape{1, 3, 7, 7}, Shape{4, 4, 7, 7},
        Shape{1, 4, 32, 32}, Shape{1, 1, 64, 65}, Shape{2, 4, 97, 100}, Shape{3, 2, 0, 5}})
    expect_same_statistics(normal_relu(shape[1]), {random_tensor(shape, Layout::plain, 5)}, shape.text());
}

TEST_F(CountingChain, CountsExtremesAndWhatIsNotFinite) {
  Builder b;
  const ValueId x = b.input("x");
  b.output(b.node("Neg", {b.node("Abs", {x})}));
  constexpr float infinity = std::numeric_limits<float>::infinity();
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<std::vector<float>> patterns = {{0.0f},
                                                    {-0.0f, 0.0f},
                                                    {3.5f},
                                                    {-2e-42f, 2e-42f},
                                                    {infinity},
                                                    {nan, -infinity},
                                                    {nan, 1.0f, -1.0f, 0.0f, infinity},
                                                    {3.4e38f, -3.4e38f, 1e-38f},
                                                    {1e7f, 1e7f, -1e-12f},
                                                    {4.0f, 1.0f, 16.0f, 0.25f}};
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    Tensor tensor = Tensor::host(DataType::float32, {3, 3001, 4});
    for (std::int64_t i = 0; i < tensor.elements(); ++i)
      tensor.mutable_data<float>()[i] = patterns[p][static_cast<std::size_t>(i * i + i / 37) % patterns[p].size()];
    expect_same_statistics(b.graph, {tensor}, fmt::format("pattern {}", p));
  }
}

TEST_F(CountingChain, CountsHalvesAsTheyAreRounded) {
  for (const DataType type : {DataType::float16, DataType::bfloat16}) {
    Builder b;
    const ValueId x = b.input("x");
    b.output(b.node("Sigmoid", {b.node("Mul", {x, b.node("Add", {x, x})})}));
    for (Value& value : b.graph.values) value.type = type;
    const Shape shape{2, 5, 40, 33};
    expect_same_statistics(b.graph, {narrowed(floats(shape, 3, 2.0f), type)}, std::string(name_of(type)));
  }
}

/// Seven are counted on the way, the others from what was stored.
TEST_F(CountingChain, CountsMoreThanThereIsRoomFor) {
  Builder b;
  const ValueId x = b.input("x");
  const ValueId y = b.input("y");
  ValueId last = b.node("Add", {x, y});
  for (int i = 0; i < 5; ++i) last = b.node("Mul", {b.node("Sub", {last, b.number(0.25f)}), b.number(1.5f)});
  b.output(last);
  const Shape shape{2, 3, 20, 30};
  expect_same_statistics(b.graph, {floats(shape, 1), floats(shape, 2)}, "twelve values");
}

TEST_F(CountingChain, ReadsOperandsThatBroadcast) {
  Builder b;
  const ValueId x = b.input("x");
  const ValueId y = b.input("y");
  const ValueId channels = b.constant({6, 1, 1}, {1, -2, 3, -4, 5, -6});
  b.output(b.node("Relu", {b.node("Add", {b.node("Mul", {x, channels}), y})}));
  for (const Shape& of_y : {Shape{2, 6, 12, 11}, Shape{2, 6, 1, 1}, Shape{12, 1}, Shape{1}})
    expect_same_statistics(b.graph, {floats({2, 6, 12, 11}, 1), floats(of_y, 2)}, of_y.text());
}

TEST_F(CountingChain, AddsUpWhatHasOneSite) {
  expect_same_statistics(normal_relu(3), {floats({2, 3, 30, 20}, 9, 4.0f)}, "one site", 0);
}

/// What only an observer wants is not stored.
TEST_F(CountingChain, StoresWhatIsRead) {
  const Graph graph = normal_relu(4);
  const Graph chain = join_chains(graph, std::vector<bool>(graph.values.size(), true), *backend_, Visible::observed);
  std::vector<std::int32_t> sites;
  for (std::size_t v = 0; v < graph.values.size(); ++v) sites.push_back(static_cast<std::int32_t>(v));
  const auto observer = backend_->make_observer(ObserverKind::histogram, graph.values.size());
  const auto kernel =
      backend_->compile(chain, chain.nodes.at(0), std::vector<const Tensor*>(chain.nodes[0].inputs.size()));
  ASSERT_TRUE(kernel->takes_taps());
  std::vector<Tensor> inputs = {backend_->upload(floats({1, 4, 16, 16}, 1))};
  std::vector<Tensor> outputs(2);
  kernel->run_tapped(inputs, outputs, std::vector<Tap>{{observer.get(), 0}},
                     std::vector<Tap>{{observer.get(), 1, true}, {observer.get(), 2, false}});
  EXPECT_FALSE(outputs[0].present());
  EXPECT_TRUE(outputs[1].present());
  std::vector<std::uint64_t> counts;
  for (const TensorStatistics& statistics : observer->collect()) counts.push_back(statistics.count);
  counts.resize(3);
  EXPECT_THAT(counts, Each(1024u));
}

/// A batch that is done again as a graph counts again.
TEST_F(CountingChain, CountsWithEveryReplay) {
  const Graph graph = normal_relu(4);
  std::vector<std::int32_t> sites;
  for (std::size_t v = 0; v < graph.values.size(); ++v) sites.push_back(static_cast<std::int32_t>(v));
  struct Repeating final : ValueHook {
    explicit Repeating(Observer& o) : observer(o) {}
    Tap tap(std::size_t site) override { return {&observer, site}; }
    Tensor on_value(std::size_t site, Tensor value) override {
      observer.observe(site, value);
      return value;
    }
    const void* repeats() const override { return &observer; }
    void flush() override { observer.flush(); }
    Observer& observer;
  };
  const auto observer = backend_->make_observer(ObserverKind::histogram, graph.values.size());
  const auto expected = host_->make_observer(ObserverKind::histogram, graph.values.size());
  Repeating hook(*observer);
  Repeating whole(*expected);
  Executor executor(join_chains(graph, std::vector<bool>(graph.values.size(), true), *backend_, Visible::observed),
                    *backend_, sites);
  Executor one_by_one(graph, *host_, sites);
  for (unsigned batch = 0; batch < 5; ++batch) {
    const std::vector<Tensor> inputs = {floats({2, 4, 24, 24}, batch)};
    executor.run_for(inputs, hook);
    one_by_one.run_for(inputs, whole);
  }
  EXPECT_GE(cuda::graph_use(*backend_).launched, 3u);
  EXPECT_EQ(observer->collect(), expected->collect());
}

}  // namespace
}  // namespace tare::test
