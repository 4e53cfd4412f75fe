// A program may stop what a session runs before the batch is done.
#include <gmock/gmock.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string_view>
#include <thread>

#include "batches.hpp"
#include "support/model_builder.hpp"

namespace tare {
namespace {

/// y = x, through a node n times: negated, or, where that node is gone, as it was.
std::filesystem::path write_loop(const std::filesystem::path& path, const char* type) {
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  test::add_input(graph, "x", {-1, 4});
  test::add_input(graph, "n", {}, 7);
  test::add_output(graph, "y", {-1, 4});
  onnx::NodeProto& loop = test::add_node(graph, "Loop", {"n", "", "x"}, {"y"});
  onnx::GraphProto& body = *test::add_attribute(loop, "body", onnx::AttributeProto::GRAPH).mutable_g();
  test::add_input(body, "i", {}, 7);
  test::add_input(body, "goes_on", {}, 9);
  body.add_input()->set_name("before");
  test::add_node(body, type, {"before"}, {"after"});
  test::add_output(body, "goes_on", {}, 9);
  body.add_output()->set_name("after");
  return test::write_model(model, path);
}

std::vector<Tensor> inputs(std::int64_t n) {
  return {Tensor::of<float>({1, 4}, {{1, 2, 3, 4}}), Tensor::of<std::int64_t>({}, {{n}})};
}

TEST(Stop, EndsWhatRunsBeforeItsNextNode) {
  const test::TemporaryFolder folder;
  for (const auto& [threads, type] : {std::pair{1, "Neg"}, {2, "Neg"}, {1, "Identity"}}) {
    const std::filesystem::path model = write_loop(folder / "m.onnx", type);
    std::atomic<bool> stop = false;
    SessionOptions options;
    options.cpu.threads = threads;
    options.stop = &stop;
    Session session(model, options);
    const auto expect_stopped = [&](const std::function<void(const std::vector<Tensor>&)>& run) {
      stop = false;
      const std::jthread other([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
        stop = true;
      });
      try {
        run(inputs(std::int64_t{1} << 26));  // for a minute or more
        ADD_FAILURE() << "it ran to its end";
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::interrupted);
        EXPECT_STREQ(error.what(), "interrupted: nothing was written") << "no node is to blame";
      }
    };
    expect_stopped([&](const std::vector<Tensor>& in) { session.run(in); });
    expect_stopped([&](const std::vector<Tensor>& in) {
      Calibration calibration = session.start_calibration({});
      calibration.add(in);
      calibration.finish();
    });
    expect_stopped([&](const std::vector<Tensor>& in) {
      BatchRuns runs = session.start_runs({}, [](const Batch&, const BatchOutputs&) {});
      runs.add({in, 0, 1});
      runs.finish();
    });
    stop = false;
    const Tensor y = session.run(inputs(3)).at(0);
    const float sign = std::string_view(type) == "Neg" ? -1 : 1;
    EXPECT_THAT(y.span<float>(), testing::ElementsAre(sign, 2 * sign, 3 * sign, 4 * sign)) << "it goes on as before";
  }
}

}  // namespace
}  // namespace tare
