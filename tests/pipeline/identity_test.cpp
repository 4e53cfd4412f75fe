// What stays the same byte for byte: any order and any sharding of the same batches; encodings from saved statistics
// and from a direct run; threads, and batch sizes, in reproducible mode.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>

#include "batches.hpp"
#include "support/model_builder.hpp"

namespace tare {
namespace {

std::string bytes_of(const StatisticsFile& statistics) {
  std::string folder = testing::TempDir() + "/tare-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) return {};
  const std::filesystem::path path = std::filesystem::path(folder) / "a.stats";
  save_statistics(path.string(), statistics);
  std::ifstream file(path, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), {}};
  std::filesystem::remove_all(folder);
  return bytes;
}

void expect_same(const EncodingSet& a, const EncodingSet& b) {
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (std::size_t i = 0; i < a.tensors.size(); ++i) {
    EXPECT_EQ(a.tensors[i].tensor, b.tensors[i].tensor);
    EXPECT_EQ(a.tensors[i].encodings, b.tensors[i].encodings) << a.tensors[i].tensor;
  }
}

CalibrationOptions kept(Scheme scheme = Scheme::sqnr) {
  CalibrationOptions options;
  options.search.scheme = scheme;
  options.keep_histograms = true;
  options.observe_quantized_weights = false;
  return options;
}

TEST(Identity, OrderAndShardsDoNotMatter) {
  for (const char* name : {"ppocr_cls", "silero_vad"}) {
    Session session(test::golden_model(name).model());
    const std::vector<Batch> batches = test::first_batches(test::golden_model(name), session.graph(), 4);
    ASSERT_GE(batches.size(), 2u);
    test::MemoryDataset all(batches);
    const CalibrationResult whole = session.calibrate(all, kept());
    const std::string expected = bytes_of(whole.statistics);
    ASSERT_FALSE(expected.empty());

    std::vector<Batch> reversed(batches.rbegin(), batches.rend());
    test::MemoryDataset backwards(reversed);
    const CalibrationResult other = session.calibrate(backwards, kept());
    EXPECT_EQ(bytes_of(other.statistics), expected) << name;
    expect_same(other.encodings, whole.encodings);

    test::MemoryDataset first({batches.begin(), batches.begin() + 1});
    test::MemoryDataset rest({batches.begin() + 1, batches.end()});
    StatisticsFile merged = session.calibrate(rest, kept()).statistics;
    merge(merged, session.calibrate(first, kept()).statistics);
    merged.fingerprint.data = whole.statistics.fingerprint.data;
    EXPECT_EQ(bytes_of(merged), expected) << name;
    expect_same(session.calibrate_from(merged, kept()).encodings, whole.encodings);
  }
}

TEST(Identity, SeveralDevicesGiveWhatOneGives) {
  for (const char* name : {"ppocr_cls", "silero_vad"}) {
    const test::GoldenModel& model = test::golden_model(name);
    std::vector<Session> sessions;
    for (int i = 0; i < 3; ++i) sessions.emplace_back(model.model(), SessionOptions{.cpu = {.threads = 1}});
    test::MemoryDataset data(test::first_batches(model, sessions[0].graph(), 4));
    for (const Scheme scheme : {Scheme::sqnr, Scheme::min_max}) {
      const CalibrationResult one = sessions[0].calibrate(data, kept(scheme));
      std::size_t last = 0;
      CalibrationOptions options = kept(scheme);
      options.progress = [&](std::size_t done, std::size_t total) {
        EXPECT_LE(done, total);
        last = std::max(last, done);
        return true;
      };
      const CalibrationResult together = calibrate_together(sessions, data, options);
      EXPECT_EQ(bytes_of(together.statistics), bytes_of(one.statistics)) << name;
      expect_same(together.encodings, one.encodings);
      EXPECT_EQ(together.samples, one.samples);
      EXPECT_EQ(together.batches, one.batches);
      EXPECT_EQ(last, data.samples());
    }
    CalibrationOptions stops = kept();
    stops.progress = [](std::size_t done, std::size_t) { return done == 0; };
    EXPECT_THROW(calibrate_together(sessions, data, stops), Error);
    EXPECT_THROW(calibrate_together(sessions, data, kept(Scheme::tf_enhanced)), Error);
  }
}

TEST(Identity, SavedStatisticsServeEveryScheme) {
  for (const char* name : {"ppocr_cls", "silero_vad"}) {
    Session session(test::golden_model(name).model());
    test::MemoryDataset data(test::first_batches(test::golden_model(name), session.graph(), 2));
    const StatisticsFile saved = session.calibrate(data, kept()).statistics;
    for (const Scheme scheme : {Scheme::min_max, Scheme::sqnr, Scheme::mse, Scheme::percentile, Scheme::entropy}) {
      CalibrationOptions direct = kept(scheme);
      direct.keep_histograms = false;
      expect_same(session.calibrate_from(saved, kept(scheme)).encodings, session.calibrate(data, direct).encodings);
    }
    EXPECT_THROW(session.calibrate_from(saved, kept(Scheme::tf_enhanced)), Error);
  }
}

/// A swish turns around, so that of y = swish(a) only the extremes are read; joined with what has a histogram.
std::filesystem::path write_joined_swish(const std::filesystem::path& path) {
  onnx::ModelProto model = test::empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  test::add_input(graph, "x", {-1, 1, 8, 8});
  for (const char* weight : {"v", "w"}) {
    const float sign = *weight == 'v' ? 1.0f : -0.7f;
    test::add_initializer<float>(graph, weight, 1, {2, 1, 1, 1}, {3 * sign, 2 * sign});
  }
  test::add_node(graph, "Conv", {"x", "v"}, {"a"});
  test::add_node(graph, "Sigmoid", {"a"}, {"s"});
  test::add_node(graph, "Mul", {"a", "s"}, {"swish"});
  test::add_node(graph, "Conv", {"x", "w"}, {"b"});
  test::add_integer(test::add_node(graph, "Concat", {"swish", "b"}, {"y"}), "axis", 1);
  test::add_output(graph, "y", {-1, 4, 8, 8});
  return test::write_model(model, path);
}

std::vector<Batch> images(std::size_t count) {
  std::vector<Batch> batches;
  for (std::size_t b = 0; b < count; ++b) {
    Tensor image = Tensor::host(DataType::float32, {1, 1, 8, 8});
    for (std::size_t i = 0; i < 64; ++i)
      image.mutable_data<float>()[i] = static_cast<float>((i * 37 + b * 11) % 64) / 16.0f - 2.0f;
    batches.push_back({{image}, b, 1});
  }
  return batches;
}

TEST(Identity, ExtremesOfOneTensorGoWithTheHistogramOfAnother) {
  const test::TemporaryFolder folder;
  const std::filesystem::path model = write_joined_swish(folder / "m.onnx");
  std::vector<Session> sessions;
  for (int i = 0; i < 2; ++i) sessions.emplace_back(model, SessionOptions{.cpu = {.threads = 1}});
  test::MemoryDataset data(images(4));
  const StatisticsFile saved = sessions[0].calibrate(data, kept()).statistics;
  CalibrationOptions extremes = kept(Scheme::min_max);
  extremes.keep_histograms = false;
  const EncodingSet direct = sessions[0].calibrate(data, extremes).encodings;
  expect_same(sessions[0].calibrate_from(saved, extremes).encodings, direct);
  expect_same(calibrate_together(sessions, data, extremes).encodings, direct);
}

TEST(Identity, StatisticsWithoutAHistogramNameTheSchemeThatTheyServe) {
  Session session(test::golden_model("ppocr_cls").model());
  test::MemoryDataset data(test::first_batches(test::golden_model("ppocr_cls"), session.graph(), 1));
  CalibrationOptions every = kept();
  every.read_every_tensor = true;  // or it would follow from others
  StatisticsFile saved = session.calibrate(data, every).statistics;
  NamedStatistics& cut = saved.tensors.back();
  cut.statistics.bins.clear();
  every.search.scheme = Scheme::min_max;
  EXPECT_NO_THROW(session.calibrate_from(saved, every));
  every.search.scheme = Scheme::mse;
  try {
    session.calibrate_from(saved, every);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_NE(std::string(error.what())
                  .find("minimum and maximum of tensor '" + cut.tensor + "', which serve min_max but not mse"),
              std::string::npos)
        << error.what();
  }
}

/// Each sample as a batch of its own, where every input has the samples in its first dimension.
std::vector<Batch> singles(const std::vector<Batch>& batches) {
  std::vector<Batch> result;
  for (const Batch& batch : batches) {
    for (std::size_t sample = 0; sample < batch.samples; ++sample) {
      Batch single{{}, batch.first_sample + sample, 1};
      for (const Tensor& input : batch.inputs) {
        Shape shape = input.shape();
        shape[0] = 1;
        Tensor part = Tensor::host(input.type(), shape);
        const std::size_t bytes = part.bytes();
        std::memcpy(part.mutable_data(), input.data() + sample * bytes, bytes);
        single.inputs.push_back(std::move(part));
      }
      result.push_back(std::move(single));
    }
  }
  return result;
}

/// The samples of all batches in one, where their shapes agree.
std::vector<Batch> joined(const std::vector<Batch>& batches) {
  Batch all = batches.front();
  for (std::size_t b = 1; b < batches.size(); ++b) {
    for (std::size_t i = 0; i < all.inputs.size(); ++i) {
      const Tensor& more = batches[b].inputs[i];
      Shape shape = all.inputs[i].shape();
      shape[0] += more.shape()[0];
      Tensor both = Tensor::host(more.type(), shape);
      if (both.bytes() != all.inputs[i].bytes() + more.bytes()) return batches;
      std::memcpy(both.mutable_data(), all.inputs[i].data(), all.inputs[i].bytes());
      std::memcpy(both.mutable_data() + all.inputs[i].bytes(), more.data(), more.bytes());
      all.inputs[i] = std::move(both);
    }
    all.samples += batches[b].samples;
  }
  return {all};
}

/// 0 when reproducible runs with one, two and three threads, and sample by sample, leave the same statistics.
int reproducible(Isa isa) {
  for (const char* name : {"ppocr_cls", "minilm_l3"}) {
    std::string expected;
    for (const int threads : {1, 2, 3}) {
      SessionOptions options;
      options.cpu.threads = threads;
      options.cpu.isa = isa;
      options.cpu.reproducible = true;
      Session session(test::golden_model(name).model(), options);
      const std::vector<Batch> batches = joined(test::first_batches(test::golden_model(name), session.graph(), 2));
      if (batches.front().samples < 2) {
        std::fprintf(stderr, "%s: its first batch has one sample\n", name);
        return 1;
      }
      for (const bool split : {false, true}) {
        if (split && threads != 2) continue;
        test::MemoryDataset data(split ? singles(batches) : batches);
        StatisticsFile statistics = session.calibrate(data, kept()).statistics;
        statistics.fingerprint.batch_grouping.clear();
        const std::string bytes = bytes_of(statistics);
        if (expected.empty()) expected = bytes;
        if (bytes != expected) {
          std::fprintf(stderr, "%s: %d threads%s: other statistics\n", name, threads,
                       split ? ", sample by sample" : "");
          return 1;
        }
      }
    }
  }
  return 0;
}

// In a process of its own each: oneDNN's instruction set is chosen once.
class Reproducible : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_P(Reproducible, ThreadsAndBatchSizesDoNotMatter) {
  EXPECT_EXIT(std::_Exit(reproducible(GetParam())), testing::ExitedWithCode(0), "");
}

INSTANTIATE_TEST_SUITE_P(Isas, Reproducible, testing::Values(Isa::automatic, Isa::avx2, Isa::baseline),
                         [](const auto& test) {
                           return test.param == Isa::automatic ? "automatic"
                                  : test.param == Isa::avx2    ? "avx2"
                                                               : "baseline";
                         });

}  // namespace
}  // namespace tare
