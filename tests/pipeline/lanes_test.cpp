// Small batches of small models run beside each other, one thread each: nothing of that can be seen in what is found,
// nor in which batch is at fault.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "batches.hpp"
#include "run/lanes.hpp"
#include "support/model_builder.hpp"

namespace tare {
namespace {

SessionOptions with_threads(int threads) {
  SessionOptions options;
  options.cpu.threads = threads;
  return options;
}

CalibrationResult calibrate(const std::filesystem::path& model, int threads, std::size_t batches) {
  Session session(model, with_threads(threads));
  std::vector<Batch> data = test::first_batches(test::golden_model("ppocr_cls"), session.graph(), batches);
  test::MemoryDataset dataset(std::move(data));
  CalibrationOptions options;
  options.keep_histograms = true;
  return session.calibrate(dataset, options);
}

TEST(Lanes, GiveTheBytesOfOneThread) {
  const auto& model = test::golden_model("ppocr_cls").model();
  const CalibrationResult one = calibrate(model, 1, 16);
  for (const int threads : {2, 3, 8}) {
    const CalibrationResult several = calibrate(model, threads, 16);
    EXPECT_EQ(several.statistics, one.statistics) << threads << " threads";
    for (std::size_t i = 0; i < one.encodings.tensors.size(); ++i)
      EXPECT_EQ(several.encodings.tensors.at(i).encodings, one.encodings.tensors[i].encodings) << threads << " threads";
    EXPECT_EQ(several.samples, 16u);
  }
}

TEST(Lanes, RunManyBatchesAtATime) {
  std::atomic<int> at_a_time{0}, most{0};
  std::atomic<std::size_t> done{0};
  Lanes lanes(4);
  const auto task = [&](std::size_t lane) {
    EXPECT_LT(lane, 4u);
    const int now = ++at_a_time;
    for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    --at_a_time;
    ++done;
  };
  for (std::size_t i = 0; i < 64; ++i) lanes.give(task);
  lanes.wait();
  EXPECT_EQ(done, 64u);
  EXPECT_GT(most, 1);
  EXPECT_LE(most, 4);
}

TEST(Lanes, OneLaneIsTheCaller) {
  const std::thread::id caller = std::this_thread::get_id();
  std::vector<std::size_t> order;
  Lanes lanes(1);
  for (std::size_t i = 0; i < 5; ++i)
    lanes.give([&, i](std::size_t) {
      EXPECT_EQ(std::this_thread::get_id(), caller);
      order.push_back(i);
    });
  lanes.wait();
  EXPECT_EQ(order, (std::vector<std::size_t>{0, 1, 2, 3, 4}));
}

TEST(Lanes, ThrowForTheEarliestBatchThatFails) {
  for (int repetition = 0; repetition < 50; ++repetition) {
    std::atomic<std::size_t> run{0};
    Lanes lanes(3);
    std::string message;
    try {
      for (std::size_t i = 0; i < 1000; ++i)
        lanes.give([&, i](std::size_t) {
          ++run;
          if (i == 5) std::this_thread::sleep_for(std::chrono::microseconds(300));
          if (i == 5 || i == 6) throw Error(ErrorKind::data, std::to_string(i));
        });
      lanes.wait();
    } catch (const Error& error) {
      message = error.what();
    }
    EXPECT_EQ(message, "5");
    const std::size_t run_before = run;
    EXPECT_THROW(lanes.wait(), Error);
    EXPECT_THROW(lanes.give([&](std::size_t) { ++run; }), Error);
    EXPECT_EQ(run, run_before) << "nothing runs once a failure was thrown";
  }
}

TEST(Lanes, WhatWaitsBehindAFailureDoesNotRun) {
  // On one lane: how far others get before they hear of a failure is up to the machine.
  std::size_t last = 0;
  Lanes lanes(1);
  const auto give_all = [&] {
    for (std::size_t i = 0; i < 100; ++i)
      lanes.give([&, i](std::size_t) {
        last = i;
        if (i == 5) throw Error(ErrorKind::data, "fails");
      });
    lanes.wait();
  };
  EXPECT_THROW(give_all(), Error);
  EXPECT_THROW(lanes.wait(), Error);
  EXPECT_EQ(last, 5u);
}

TEST(Lanes, EndWhileBatchesWait) {
  std::atomic<int> done{0}, running{0};
  {
    Lanes lanes(2);
    for (std::size_t i = 0; i < 3; ++i)
      lanes.give([&](std::size_t) {
        ++running;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        ++done;
        --running;
      });
  }
  EXPECT_LE(done, 3);
  EXPECT_EQ(running, 0) << "what runs is waited for";
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

/// y = exp(x) is infinite where x is large.
class ExponentialTest : public testing::Test {
 protected:
  ExponentialTest() : session_(model(), with_threads(2)) {}

  std::filesystem::path model() const {
    onnx::ModelProto model = test::empty_model();
    onnx::GraphProto& graph = *model.mutable_graph();
    test::add_input(graph, "x", {-1, 8});
    test::add_node(graph, "Exp", {"x"}, {"e"});
    test::add_node(graph, "Neg", {"e"}, {"y"});
    test::add_output(graph, "y", {-1, 8});
    return test::write_model(model, folder_ / "exp.onnx");
  }
  static Tensor batch(float value) { return Tensor::of<float>({1, 8}, std::vector<float>(8, value)); }

  test::TemporaryFolder folder_;
  Session session_;
};

TEST_F(ExponentialTest, TheFirstSampleThatBecomesInfiniteIsNamed) {
  for (int repetition = 0; repetition < 20; ++repetition) {
    Calibration calibration = session_.start_calibration({});
    const std::string message = message_of([&] {
      for (int i = 0; i < 40; ++i) calibration.add(std::array{batch(i == 7 || i == 8 || i == 9 ? 100.0f : 1.0f)});
      calibration.finish();
    });
    EXPECT_NE(message.find("tensor 'e'"), std::string::npos) << message;
    EXPECT_NE(message.find("sample 7"), std::string::npos) << message;
  }
}

TEST_F(ExponentialTest, ABatchThatDoesNotFitIsRefusedBeforeTheNextResult) {
  Calibration calibration = session_.start_calibration({});
  calibration.add(std::array{batch(1)});
  const std::string message = message_of([&] {
    calibration.add(std::array{Tensor::of<float>({1, 7}, std::vector<float>(7))});
    calibration.wait();
  });
  EXPECT_NE(message.find("input 'x' must have the shape"), std::string::npos) << message;
  EXPECT_EQ(message_of([&] { calibration.add(std::array{batch(1)}); }), message);
  EXPECT_EQ(message_of([&] { calibration.finish(); }), message);
}

TEST_F(ExponentialTest, WhatWasPushedMayBeWrittenOver) {
  Tensor input = batch(0);
  Calibration calibration = session_.start_calibration({});
  for (int i = 0; i < 200; ++i) {
    for (float& value : input.mutable_span<float>()) value = static_cast<float>(i) / 100.0f;
    calibration.add(std::span(&input, 1));
    for (float& value : input.mutable_span<float>()) value = 50.0f;
  }
  const CalibrationResult result = calibration.finish();
  for (const NamedStatistics& entry : result.statistics.tensors) {
    EXPECT_EQ(entry.statistics.count, 1600u) << entry.tensor;
    if (entry.tensor == "x") {
      EXPECT_EQ(entry.statistics.max, 1.99f);
    }
  }
  EXPECT_EQ(result.samples, 200u);
}

/// The same elements with the channels last in memory.
Tensor channels_last(const Tensor& plain) {
  const Shape& shape = plain.shape();
  const std::int64_t pixels = shape[2] * shape[3];
  Tensor result = Tensor::host(plain.type(), shape, Layout::channels_last);
  for (std::int64_t c = 0; c < shape[1]; ++c)
    for (std::int64_t p = 0; p < pixels; ++p)
      result.mutable_data<float>()[p * shape[1] + c] = plain.data<float>()[c * pixels + p];
  return result;
}

/// y = 1x1 convolution of x with a weight a channel that no other has.
class ConvolutionTest : public testing::TestWithParam<int> {
 protected:
  ConvolutionTest() : session_(model(), with_threads(GetParam())) {}

  std::filesystem::path model() const {
    onnx::ModelProto model = test::empty_model();
    onnx::GraphProto& graph = *model.mutable_graph();
    test::add_input(graph, "x", {1, 3, 2, 5});
    test::add_initializer<float>(graph, "w", 1, {1, 3, 1, 1}, {1, 10, -100});
    test::add_node(graph, "Conv", {"x", "w"}, {"y"});
    test::add_output(graph, "y", {1, 1, 2, 5});
    return test::write_model(model, folder_ / "conv.onnx");
  }
  static Tensor batch(int seed) {
    std::vector<float> values(30);
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<float>((i * 7 + static_cast<std::size_t>(seed) * 11) % 31) / 31.0f;
    return Tensor::of<float>({1, 3, 2, 5}, values);
  }

  test::TemporaryFolder folder_;
  Session session_;
};
INSTANTIATE_TEST_SUITE_P(Threads, ConvolutionTest, testing::Values(1, 2));

TEST_P(ConvolutionTest, TakesBatchesInEitherLayout) {
  const auto statistics = [&](bool last) {
    Calibration calibration = session_.start_calibration({});
    for (int i = 0; i < 20; ++i) calibration.add(std::array{last ? channels_last(batch(i)) : batch(i)});
    return calibration.finish().statistics;
  };
  EXPECT_EQ(statistics(true), statistics(false));
}

TEST_P(ConvolutionTest, NamesTheSameElementInEitherLayout) {
  Tensor bad = batch(0);
  bad.mutable_data<float>()[2 * 10 + 1 * 5 + 3] = NAN;
  for (const Tensor& input : {bad, channels_last(bad)}) {
    Calibration calibration = session_.start_calibration({});
    EXPECT_NE(message_of([&] { calibration.add(std::span(&input, 1)); }).find("nan at index [2,1,3] of sample 0"),
              std::string::npos);
  }
}

/// Outputs of all batches as one list, in the order in which they were handed on.
struct Received {
  std::vector<std::size_t> first_samples;
  std::vector<std::vector<Tensor>> exact, simulated;
};

Received run_all(Session& session, const std::vector<Batch>& batches) {
  Received received;
  BatchRuns runs =
      session.start_runs({.exact = true, .simulated = true}, [&](const Batch& batch, const BatchOutputs& outputs) {
        received.first_samples.push_back(batch.first_sample);
        received.exact.push_back(outputs.exact);
        received.simulated.push_back(outputs.simulated);
        EXPECT_GT(outputs.exact_seconds, 0);
      });
  for (const Batch& batch : batches) runs.add(batch);
  runs.finish();
  return received;
}

void expect_same(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].shape(), b[i].shape());
    EXPECT_TRUE(a[i].bytes() == b[i].bytes() && std::equal(a[i].data(), a[i].data() + a[i].bytes(), b[i].data()));
  }
}

TEST(Runs, HandOnWhatOneThreadComputesInTheOrderOfTheBatches) {
  const auto& model = test::golden_model("ppocr_cls").model();
  Session alone(model, with_threads(1));
  std::vector<Batch> batches = test::first_batches(test::golden_model("ppocr_cls"), alone.graph(), 12);
  test::MemoryDataset data(batches);
  const EncodingSet encodings = alone.calibrate(data, {}).encodings;
  alone.set_encodings(encodings);
  for (const int threads : {1, 2, 8}) {
    Session session(model, with_threads(threads));
    session.set_encodings(encodings);
    const Received received = run_all(session, batches);
    ASSERT_EQ(received.first_samples.size(), batches.size());
    for (std::size_t i = 0; i < batches.size(); ++i) {
      EXPECT_EQ(received.first_samples[i], batches[i].first_sample);
      expect_same(received.exact[i], alone.run(batches[i].inputs));
      expect_same(received.simulated[i], alone.simulate(batches[i].inputs));
    }
  }
}

TEST_F(ExponentialTest, LargeBatchesWaitForSmallOnesInFrontOfThem) {
  std::vector<Batch> batches;
  for (std::size_t i = 0; i < 40; ++i) {
    const std::int64_t rows = i % 7 == 6 ? 9000 : 1;
    batches.push_back(
        {{Tensor::of<float>({rows, 8}, std::vector<float>(static_cast<std::size_t>(rows) * 8, 0.5f))}, i, 1});
  }
  std::vector<std::size_t> order;
  BatchRuns runs = session_.start_runs({}, [&](const Batch& batch, const BatchOutputs& outputs) {
    order.push_back(batch.first_sample);
    EXPECT_EQ(outputs.exact.at(0).shape(), batch.inputs[0].shape());
    EXPECT_TRUE(outputs.simulated.empty());
  });
  for (const Batch& batch : batches) runs.add(batch);
  runs.finish();
  for (std::size_t i = 0; i < batches.size(); ++i) EXPECT_EQ(order.at(i), i);
  EXPECT_EQ(order.size(), batches.size());
}

TEST_F(ExponentialTest, ARunThatFailsEndsThem) {
  std::size_t received = 0;
  BatchRuns runs = session_.start_runs({}, [&](const Batch&, const BatchOutputs&) { ++received; });
  const std::string message = message_of([&] {
    for (std::size_t i = 0; i < 30; ++i) {
      Tensor input = i == 20 ? Tensor::of<float>({1, 7}, std::vector<float>(7)) : batch(1);
      runs.add({{input}, i, 1});
    }
    runs.finish();
  });
  EXPECT_NE(message.find("input 'x' must have the shape"), std::string::npos) << message;
  EXPECT_LE(received, 20u);
  EXPECT_EQ(message_of([&] { runs.finish(); }), message);
  EXPECT_NE(message_of([&] { session_.start_runs({.exact = false, .simulated = true}, {}); }).find("set_encodings"),
            std::string::npos);
}

}  // namespace
}  // namespace tare
