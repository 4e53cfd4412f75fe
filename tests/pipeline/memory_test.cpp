// What is kept of the data are statistics: memory does not grow with the number of samples, and after the first batch
// tensors come from the pool.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <fstream>
#include <random>
#include <string>

#include "batches.hpp"
#include "support/model_builder.hpp"

#if !defined(__SANITIZE_ADDRESS__)
namespace {
std::atomic<std::size_t> blocks_asked_for{0};
}
// Stands before the system's in this process, the library's calls included.
extern "C" void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  ++blocks_asked_for;
  void* block = nullptr;
  return ::posix_memalign(&block, alignment, size) == 0 ? block : nullptr;
}
#endif

namespace tare {
namespace {

/// Peak resident memory of this process in KiB since it was reset.
std::size_t peak() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stoul(line.substr(6));
  return 0;
}
void reset_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

TEST(Memory, DoesNotGrowWithTheNumberOfSamples) {
  Session session(test::golden_model("ppocr_cls").model());
  const std::vector<Batch> batches = test::first_batches(test::golden_model("ppocr_cls"), session.graph(), 1);
  CalibrationOptions options;
  options.keep_histograms = true;
  Calibration calibration = session.start_calibration(options);
  const auto repeat = [&](int times) {
    for (int i = 0; i < times; ++i) calibration.add(batches[0].inputs, batches[0].samples);
  };
  repeat(8);
  const std::size_t before = peak();
  repeat(56);
  EXPECT_LE(peak(), before + 4096);
  EXPECT_EQ(calibration.finish().batches, 64u);
}

/// 640 samples of 3 x 48 x 192, every one another: 71 MB that must pass through and not stay.
TEST(Memory, DoesNotGrowWithTheDataOnDisk) {
  constexpr std::int64_t samples = 640, elements = 3 * 48 * 192;
  SessionOptions one_thread;
  one_thread.cpu.threads = 1;
  Session session(test::golden_model("ppocr_cls").model(), one_thread);
  const test::TemporaryFolder folder;
  {
    NpzWriter writer(folder / "x.npz");
    writer.begin("x", DataType::float32, {samples, 3, 48, 192});
    std::mt19937 random(1);
    std::vector<float> sample(elements);
    std::uniform_real_distribution<float> values(-1.0f, 1.0f);
    for (std::int64_t i = 0; i < samples; ++i) {
      for (float& value : sample) value = values(random);
      writer.append(std::as_bytes(std::span(sample)));
    }
    writer.end();
    writer.commit();
  }
  const auto peak_of = [&](std::size_t count) {
    CalibrationOptions options;
    options.keep_histograms = true;
    const auto data = prefetch(open_dataset(folder / "x.npz", session.graph(), {.samples = count, .batch_size = 16}));
    reset_peak();
    EXPECT_EQ(session.calibrate(*data, options).samples, count);
    return peak();
  };
  // More values fill more bins of the histograms, some 4 MB with every doubling of the samples until all are taken;
  // data that stays would add all of it.
  constexpr std::size_t first = 160, more_data = (samples - first) * elements * sizeof(float) / 1024;
  const std::size_t few = peak_of(first);
  ASSERT_GT(few, 0u);
  EXPECT_LE(peak_of(samples), few + more_data / 3) << "of " << more_data << " KiB more data";
}

#if !defined(__SANITIZE_ADDRESS__)
TEST(Memory, TensorsComeFromThePoolAfterTheFirstBatch) {
  Session session(test::golden_model("orientation").model());  // too large for batches beside each other
  const std::vector<Batch> batches = test::first_batches(test::golden_model("orientation"), session.graph(), 1);
  Calibration calibration = session.start_calibration({});
  const auto blocks_of = [](const auto& run) {
    const std::size_t before = blocks_asked_for;
    run();
    return blocks_asked_for - before;
  };
  const auto plain = [&] { session.run(batches[0].inputs); };
  const auto observe = [&] { calibration.add(batches[0].inputs, batches[0].samples); };
  EXPECT_GT(blocks_of(plain), 0u) << "the first batch fills the pool";
  observe();
  for (int batch = 0; batch < 4; ++batch) {
    EXPECT_EQ(blocks_of(plain), 0u);
    EXPECT_EQ(blocks_of(observe), 0u);
  }
}
#endif

}  // namespace
}  // namespace tare
