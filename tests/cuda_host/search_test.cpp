// How histograms travel to the search on the device.
#include <gtest/gtest.h>

#include "cuda_host/one_node.hpp"
#include "cuda_host/stand_in.hpp"
#include "search.hpp"
#include "tare/calibration.hpp"
#include "tare/cuda.hpp"

namespace tare {
namespace {

using test::floats;
using test::stand_in;

std::vector<SearchRequest> requests_of(const TensorStatistics& statistics, std::size_t count) {
  return std::vector<SearchRequest>(count, {&statistics, {.bitwidth = 8, .symmetric = true}});
}

TEST(CudaFindEncodings, AHistogramTravelsOnceForAllWhoShareIt) {
  const TensorStatistics statistics = observe_values(floats({500}, 1).span<float>());
  stand_in().uploaded = 0;
  static_cast<void>(cuda::find_encodings(requests_of(statistics, 1)));
  const std::size_t once = stand_in().uploaded;
  static_cast<void>(cuda::find_encodings(requests_of(statistics, 10)));
  EXPECT_EQ(stand_in().uploaded - once, once + 9 * sizeof(cuda::SearchTask));
}

/// Bins that travel in two pieces, behind others that leave nothing to search.
TEST(CudaFindEncodings, HistogramsThatDoNotTravelAtOnce) {
  TensorStatistics tiny;
  for (std::uint32_t bin = 0; bin < 3000; ++bin) tiny.bins.emplace_back(histogram_side_count - 1500 + bin, 1 + bin % 7);
  tiny.max = static_cast<float>(histogram_side_edge(1499));
  tiny.min = -tiny.max;
  tiny.min_count = tiny.max_count = 1;
  const TensorStatistics searched = observe_values(floats({3000}, 1).span<float>());
  ASSERT_GT(searched.bins.size(), 100u);
  std::vector<TensorStatistics> all;
  std::size_t bins = 0;
  const auto add = [&](const TensorStatistics& statistics, std::size_t size) {
    all.push_back(statistics);
    all.back().bins.resize(size);
    bins += size;
  };
  while (bins + 50 < cuda::packed_piece) add(tiny, std::min(tiny.bins.size(), cuda::packed_piece - 50 - bins));
  add(searched, searched.bins.size());
  std::vector<SearchRequest> requests;
  for (const TensorStatistics& statistics : all) requests.push_back({&statistics, {.bitwidth = 8, .symmetric = true}});
  const std::vector<Encoding> found = cuda::find_encodings(requests);
  EXPECT_EQ(found.back(), find_encoding(searched, requests.back().spec));
  EXPECT_EQ(found.front(), find_encoding(all.front(), requests.front().spec));
}

TEST(CudaFindEncodings, CountsThatDoNotPackStayOnTheHost) {
  TensorStatistics statistics = observe_values(floats({500}, 1).span<float>());
  const std::uint64_t factor = std::uint64_t{1} << (cuda::packed_count_bits - 2);
  statistics.count *= factor;
  statistics.min_count *= factor;
  statistics.max_count *= factor;
  for (auto& [bin, count] : statistics.bins) count *= factor;
  const std::vector<SearchRequest> requests = requests_of(statistics, 1);
  EXPECT_EQ(cuda::find_encodings(requests).at(0), find_encoding(statistics, requests[0].spec));
}

}  // namespace
}  // namespace tare
