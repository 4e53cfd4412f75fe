// What is kept of the data are statistics: memory does not grow with the number of samples.
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "batches.hpp"

namespace tare {
namespace {

/// Peak resident memory of this process in KiB.
std::size_t peak() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stoul(line.substr(6));
  return 0;
}

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

}  // namespace
}  // namespace tare
