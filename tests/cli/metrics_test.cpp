// The measures of simulate and evaluate on numbers that can be worked out by hand.
#include "cli/metrics.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace tare::cli {
namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

TEST(Metrics, LargestTakesTheFirstOfEqualsAndNeverNan) {
  EXPECT_EQ(largest(std::vector<float>{1, 5, 3}), 1u);
  EXPECT_EQ(largest(std::vector<float>{5, 1, 5}), 0u);
  EXPECT_EQ(largest(std::vector<float>{nan, 1, 2}), 2u);
  EXPECT_EQ(largest(std::vector<float>{1, nan, 0}), 0u);
  EXPECT_EQ(largest(std::vector<float>{-infinity, -3, infinity}), 2u);
}

TEST(Metrics, TopOneAndTopFiveCountWhatIsLarger) {
  const std::vector<float> scores = {0, 9, 8, 7, 6, 5, 4};
  EXPECT_TRUE(among_largest(scores, 1, 1));
  EXPECT_FALSE(among_largest(scores, 2, 1));
  EXPECT_TRUE(among_largest(scores, 5, 5));
  EXPECT_FALSE(among_largest(scores, 6, 5));
  EXPECT_FALSE(among_largest(scores, 0, 5));
  EXPECT_FALSE(among_largest(scores, 7, 5)) << "no such class";
  EXPECT_FALSE(among_largest(scores, -1, 5));
  EXPECT_TRUE(among_largest(std::vector<float>{3}, 0, 5)) << "fewer classes than five";
}

/// A model that says the same of all classes must not be right about each.
TEST(Metrics, TiesGoToTheFirst) {
  const std::vector<float> same(10, 0.1f);
  EXPECT_TRUE(among_largest(same, 0, 1));
  EXPECT_FALSE(among_largest(same, 1, 1));
  EXPECT_TRUE(among_largest(same, 4, 5));
  EXPECT_FALSE(among_largest(same, 5, 5));
  EXPECT_EQ(largest(same), 0u);
}

TEST(Metrics, NanIsNeverRight) {
  EXPECT_FALSE(among_largest(std::vector<float>{nan, 1}, 0, 1));
  EXPECT_FALSE(among_largest(std::vector<float>{nan, 1}, 0, 2));
  EXPECT_TRUE(among_largest(std::vector<float>{nan, 1}, 1, 1));
}

TEST(Metrics, Cosine) {
  EXPECT_DOUBLE_EQ(cosine(std::vector<float>{3, 4}, std::vector<float>{6, 8}), 1);
  EXPECT_DOUBLE_EQ(cosine(std::vector<float>{1, 0}, std::vector<float>{0, 5}), 0);
  EXPECT_DOUBLE_EQ(cosine(std::vector<float>{1, 0}, std::vector<float>{-2, 0}), -1);
  EXPECT_DOUBLE_EQ(cosine(std::vector<float>{3, 4}, std::vector<float>{4, 3}), 0.96);
  EXPECT_EQ(cosine(std::vector<float>{0, 0}, std::vector<float>{0, 0}), 1);
  EXPECT_EQ(cosine(std::vector<float>{0, 0}, std::vector<float>{1, 0}), 0);
}

TEST(Metrics, SquaredErrorAndSqnr) {
  OutputError error;
  error.add_batch(std::vector<float>{3, 4}, std::vector<float>{3, 3.5f});  // 25 over 0.25: 20 dB
  EXPECT_DOUBLE_EQ(error.mean_squared_error(), 0.125);
  EXPECT_DOUBLE_EQ(error.mean_sqnr_db(), 20);
  EXPECT_DOUBLE_EQ(error.total_sqnr_db(), 20);
  error.add_batch(std::vector<float>{1}, std::vector<float>{2});  // 1 over 1: 0 dB
  EXPECT_DOUBLE_EQ(error.mean_squared_error(), 1.25 / 3);
  EXPECT_DOUBLE_EQ(error.mean_sqnr_db(), 10) << "the mean of the batches";
  EXPECT_DOUBLE_EQ(error.total_sqnr_db(), 10 * std::log10(26 / 1.25)) << "all values together";
}

TEST(Metrics, BatchesWithoutErrorAreHeldAtTwoHundred) {
  OutputError error;
  error.add_batch(std::vector<float>{1}, std::vector<float>{1});
  EXPECT_EQ(error.mean_sqnr_db(), infinity) << "nothing differs at all";
  EXPECT_EQ(error.total_sqnr_db(), infinity);
  EXPECT_EQ(error.mean_squared_error(), 0);
  error.add_batch(std::vector<float>{1}, std::vector<float>{2});
  EXPECT_DOUBLE_EQ(error.mean_sqnr_db(), 100);
  error.add_batch(std::vector<float>{0}, std::vector<float>{2});  // noise without a signal
  EXPECT_DOUBLE_EQ(error.mean_sqnr_db(), 0);
}

TEST(Metrics, NonfiniteValuesAreLeftOutAndCounted) {
  OutputError error;
  error.add_batch(std::vector<float>{nan, infinity, 1, 3, 4}, std::vector<float>{1, 1, infinity, 3, 3.5f});
  EXPECT_EQ(error.left_out(), 3u);
  EXPECT_DOUBLE_EQ(error.mean_squared_error(), 0.125);
  EXPECT_DOUBLE_EQ(error.mean_sqnr_db(), 20);
}

TEST(Metrics, BatchesWithoutValuesCountForNothing) {
  OutputError error;
  error.add_batch({}, {});
  EXPECT_TRUE(error.has_nothing());
  EXPECT_TRUE(std::isnan(error.mean_sqnr_db())) << "nothing was compared, so nothing is equal";
  EXPECT_TRUE(std::isnan(error.total_sqnr_db()));
  EXPECT_TRUE(std::isnan(error.mean_squared_error()));
  error.add_batch(std::vector<float>{1}, std::vector<float>{2});
  error.add_batch({}, {});
  EXPECT_DOUBLE_EQ(error.mean_sqnr_db(), 0) << "not the mean with 200 dB";
}

TEST(Metrics, SharesOfEqualIntegers) {
  EqualShare equal;
  EXPECT_TRUE(std::isnan(equal.share()));
  equal.add_batch(std::vector<std::int64_t>{1, 2, 3}, std::vector<std::int64_t>{1, 0, 3});
  equal.add_batch(std::vector<std::int64_t>{7}, std::vector<std::int64_t>{7});
  EXPECT_DOUBLE_EQ(equal.share(), 0.75);
  EXPECT_EQ(equal.count(), 4u);
  EXPECT_EQ(share_text(equal.share()), "75.00 %");
}

TEST(Metrics, Texts) {
  EXPECT_EQ(decibel_text(41.267), "41.27 dB");
  EXPECT_EQ(decibel_text(infinity), "equal");
  EXPECT_EQ(decibel_text(-200), "-200.00 dB");
  EXPECT_EQ(decibel_text(nan), "none");
  EXPECT_EQ(share_text(nan), "none");
}

}  // namespace
}  // namespace tare::cli
