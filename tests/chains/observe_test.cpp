// Chains that observe what they read and make, against observers of whole tensors.
#include <gtest/gtest.h>

#include <array>

#include "chains/graphs.hpp"
#include "plan/chains.hpp"
#include "run/executor.hpp"

namespace tare::test {
namespace {

using ObservingChain = Chain;

TEST_P(ObservingChain, ObservesWhatItReadsAndMakes) {
  const auto backend = GetParam().make();
  const std::vector<std::vector<Shape>> all_shapes = {{{3, 5, 7, 9}, {3, 5, 7, 9}},
                                                      {{2, 4, 96, 96}, {2, 4, 96, 96}},
                                                      {{1, 3, 40, 41}, {3, 1, 1}},  // runs one by one
                                                      {{4, 65}, {4, 65}},
                                                      {{1, 2, 800, 700}, {1, 2, 800, 700}}};
  for (const std::vector<Shape>& shapes : all_shapes) {
    const Graph graph = hard_swish(static_cast<std::size_t>(shapes[0][1]));
    const std::vector<bool> visible(graph.values.size(), true);
    const Graph chain = join_chains(graph, visible, *backend, Visible::observed);
    std::vector<std::int32_t> site_of_value;
    for (std::size_t v = 0; v < graph.values.size(); ++v) site_of_value.push_back(static_cast<std::int32_t>(v));
    const std::vector<Tensor> inputs = {random_tensor(shapes[0], Layout::plain, 7),
                                        random_tensor(shapes[1], Layout::plain, 8)};
    for (const ObserverKind kind : {ObserverKind::histogram, ObserverKind::min_max}) {
      StatisticsHook whole(*backend, kind, graph.values.size(), false);
      StatisticsHook inside(*backend, kind, graph.values.size(), true);
      const std::vector<Tensor> expected = Executor(graph, *backend, site_of_value).run(inputs, &whole);
      Executor executor(chain, *backend, site_of_value);
      for (int batch = 0; batch < 2; ++batch)
        expect_same_bits(*backend, executor.run(inputs, &inside), expected, shapes[0].text());
      Executor(graph, *backend, site_of_value).run(inputs, &whole);
      EXPECT_EQ(inside.statistics(), whole.statistics()) << shapes[0].text();
      EXPECT_EQ(chain.nodes.size(), 1u);
      if (backend->chains_take_taps()) {
        EXPECT_EQ(inside.whole(), 0u) << "every value is observed by the chain";
      }
    }
  }
}

/// A gate is observed as a tensor, what it opens block by block, whichever comes first.
TEST_P(ObservingChain, TellsAGateFromWhatItOpens) {
  const auto backend = GetParam().make();
  for (const bool gate_first : {false, true})
    for (const Shape& gate : {Shape{2, 8, 1, 1}, Shape{8, 1, 1}, Shape{1}}) {
      Builder b;
      const ValueId x = b.input("x");
      const ValueId g = b.input("gate");
      b.output(b.node("Relu", {b.node("Mul", gate_first ? std::vector{g, x} : std::vector{x, g})}));
      const std::vector<bool> visible(b.graph.values.size(), true);
      std::vector<std::int32_t> site_of_value;
      for (std::size_t v = 0; v < visible.size(); ++v) site_of_value.push_back(static_cast<std::int32_t>(v));
      const std::vector<Tensor> inputs = {random_numbers({2, 8, 40, 41}, 1, -0.5f), random_numbers(gate, 2, 6, 1)};
      for (const ObserverKind kind : {ObserverKind::histogram, ObserverKind::min_max}) {
        StatisticsHook whole(*backend, kind, visible.size(), false);
        StatisticsHook inside(*backend, kind, visible.size(), true);
        Executor(b.graph, *backend, site_of_value).run(inputs, &whole);
        const Graph chain = join_chains(b.graph, visible, *backend, Visible::observed);
        Executor(chain, *backend, site_of_value).run(inputs, &inside);
        EXPECT_EQ(inside.statistics(), whole.statistics()) << gate.text() << " first: " << gate_first;
      }
    }
}

/// Devices count on the way what they leave to an observer otherwise: more than half of the largest second-level cache
/// there is (126 MB).
TEST_P(ObservingChain, ObservesWhatIsLargerThanTheCaches) {
  const auto backend = GetParam().make();
  const auto host = make_cpu_backend();
  const Shape shape{17, 8, 500, 250};
  Builder b;
  const ValueId x = b.input("x");
  b.output(b.node("Relu", {b.batch_norm(x, static_cast<std::size_t>(shape[1]))}));
  std::vector<std::int32_t> site_of_value;
  for (std::size_t v = 0; v < b.graph.values.size(); ++v) site_of_value.push_back(static_cast<std::int32_t>(v));
  const std::vector<Tensor> inputs = {random_tensor(shape, Layout::plain, 11)};
  StatisticsHook whole(*host, ObserverKind::histogram, b.graph.values.size(), false);
  StatisticsHook inside(*backend, ObserverKind::histogram, b.graph.values.size(), true);
  const std::vector<Tensor> expected = Executor(b.graph, *host, site_of_value).run(inputs, &whole);
  Executor chain(join_chains(b.graph, std::vector<bool>(b.graph.values.size(), true), *backend, Visible::observed),
                 *backend, site_of_value);
  expect_same_bits(*backend, chain.run(inputs, &inside), expected, shape.text());
  EXPECT_EQ(inside.statistics(), whole.statistics());
}

/// Histograms of some values, extremes of others, nothing of the rest.
class MixedHook final : public ValueHook {
 public:
  MixedHook(Backend& backend, std::size_t values, bool in_chains)
      : observers_{backend.make_observer(ObserverKind::histogram, values),
                   backend.make_observer(ObserverKind::min_max, values)},
        in_chains_(in_chains) {}
  Tap tap(std::size_t site) override { return in_chains_ ? Tap{observers_[site % 2].get(), site} : Tap{}; }
  Tensor on_value(std::size_t site, Tensor value) override {
    observers_[site % 2]->observe(site, value);
    return value;
  }
  std::vector<TensorStatistics> statistics(std::size_t kind) const { return observers_[kind]->collect(); }

 private:
  std::array<std::unique_ptr<Observer>, 2> observers_;
  bool in_chains_;
};

TEST_P(ObservingChain, ObservesInSeveralWaysAtOnce) {
  const auto backend = GetParam().make();
  for (const Shape& shape : {Shape{3, 48, 17, 31}, Shape{1, 5, 200, 301}})
    for (int unseen = 0; unseen < 4; ++unseen) {
      const Graph graph = hard_swish(static_cast<std::size_t>(shape[1]));
      std::vector<bool> visible;
      std::vector<std::int32_t> site_of_value;
      for (int v = 0; v < static_cast<int>(graph.values.size()); ++v) {
        visible.push_back(v % 4 != unseen);
        site_of_value.push_back(visible.back() ? v : -1);
      }
      const std::vector<Tensor> inputs = {random_tensor(shape, Layout::plain, 7),
                                          random_tensor(shape, Layout::plain, 8)};
      MixedHook whole(*backend, graph.values.size(), false);
      MixedHook inside(*backend, graph.values.size(), true);
      const std::vector<Tensor> expected = Executor(graph, *backend, site_of_value).run(inputs, &whole);
      Executor chain(join_chains(graph, visible, *backend, Visible::observed), *backend, site_of_value);
      expect_same_bits(*backend, chain.run(inputs, &inside), expected, shape.text());
      for (const std::size_t kind : {0u, 1u})
        EXPECT_EQ(inside.statistics(kind), whole.statistics(kind)) << shape.text();
    }
}

/// What nobody reads is observed and not made; what a hook has to see is.
TEST_P(ObservingChain, MakesWhatAHookSeesThatDoesNotTap) {
  const auto backend = GetParam().make();
  const Graph graph = hard_swish(4);
  const Graph chain = join_chains(graph, std::vector<bool>(graph.values.size(), true), *backend, Visible::observed);
  std::vector<std::int32_t> site_of_value;
  for (std::size_t v = 0; v < graph.values.size(); ++v) site_of_value.push_back(static_cast<std::int32_t>(v));
  const std::vector<Tensor> inputs = {random_tensor({2, 4, 30, 30}, Layout::plain, 9),
                                      random_tensor({2, 4, 30, 30}, Layout::plain, 10)};
  StatisticsHook expected(*backend, ObserverKind::histogram, graph.values.size(), false);
  StatisticsHook actual(*backend, ObserverKind::histogram, graph.values.size(), false);
  Executor(graph, *backend, site_of_value).run(inputs, &expected);
  Executor(chain, *backend, site_of_value).run(inputs, &actual);
  EXPECT_EQ(actual.whole(), expected.whole());
  EXPECT_EQ(actual.statistics(), expected.statistics());
}

INSTANTIATE_TEST_SUITE_P(Backends, ObservingChain, testing::ValuesIn(backends()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace tare::test
