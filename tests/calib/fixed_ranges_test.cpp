// Ranges that a config or the user gives (encoding constraints). Expected encodings: aimet_onnx 2.42, where a Sigmoid
// has the constraints and the symmetry.
#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "tare/calibration.hpp"
#include "tare/statistics.hpp"

namespace tare {
namespace {

struct Range {
  int bitwidth;
  bool symmetric, unsigned_symmetric;
  double low;
  std::optional<double> high;  ///< none: as observed, 0.8807970881462097
  double scale, offset;
};

TEST(FixedRanges, AreAimets) {
  const std::vector<float> values = {0.2f, 0.5f, 0.8807970881462097f};
  for (const Range& range : {
           Range{8, false, false, 0, 1, 1 / 255.0, 0},
           Range{8, true, false, -1, 1, 0.007874015748031496, -128},
           Range{8, true, false, 0, 1, 0.007874015748031496, -128},  // around zero: its files say symmetric
           Range{8, true, true, 0, 1, 0.007874015748031496, -128},
           Range{8, true, false, 0, std::nullopt, 0.006935410142883541, -128},
           Range{8, true, true, 0, std::nullopt, 0.006935410142883541, -128},
           Range{8, true, false, -0.5, 1, 0.007874015748031496, -128},
           Range{8, true, false, -1, 0.5, 0.0078125, -128},
           Range{8, true, false, -3, 1, 0.0234375, -128},
           Range{4, true, false, -1, 0.5, 0.125, -8},
           Range{2, true, false, 0, 1, 1, -2},
       }) {
    QuantizerSpec spec;
    spec.bitwidth = range.bitwidth;
    spec.symmetric = range.symmetric;
    spec.unsigned_symmetric = range.unsigned_symmetric;
    spec.fixed_min = range.low;
    spec.fixed_max = range.high;
    SearchOptions options;
    options.scheme = Scheme::min_max;
    const Encoding found = find_encoding(observe_values(values), spec, options);
    EXPECT_NEAR(found.scale, range.scale, 1e-9) << range.low << " " << range.bitwidth;
    EXPECT_EQ(found.offset, range.offset) << range.low << " " << range.bitwidth;
    EXPECT_DOUBLE_EQ(found.max, found.scale * (found.offset + static_cast<double>(spec.steps())));
  }
}

/// What is observed on one side of zero has all codes there, where the config says unsigned_symmetric.
TEST(FixedRanges, ObservedOnesMayBeOnOneSide) {
  QuantizerSpec spec;
  spec.symmetric = true;
  const Encoding both = min_max_encoding(0, 2, spec);
  EXPECT_DOUBLE_EQ(both.scale, 0.015748031496062992);
  EXPECT_EQ(both.offset, -128);
  spec.unsigned_symmetric = true;
  const Encoding one = min_max_encoding(0, 2, spec);
  EXPECT_DOUBLE_EQ(one.scale, 0.00784313725490196);
  EXPECT_EQ(one.offset, 0);
}

}  // namespace
}  // namespace tare
