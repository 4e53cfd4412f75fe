// The search on the device against that of the CPU: the same encodings, to the last bit.
#include "cuda/device.hpp"
#include "kernels/inputs.hpp"

namespace tare {
namespace {

using CudaSearch = test::CudaTest;

std::vector<TensorStatistics> histograms() {
  std::vector<TensorStatistics> all;
  const auto add = [&](const std::vector<float>& values) { all.push_back(observe_values(values)); };
  for (unsigned seed = 0; seed < 40; ++seed) {
    std::vector<float> values =
        test::normal_values(1000 + 997 * seed, seed, 0.003f * static_cast<float>(seed * seed + 1));
    if (seed % 4 == 1)
      for (float& value : values) value = value > 0 ? value : 0.0f;
    if (seed % 4 == 2)
      for (float& value : values) value = value * value * value;
    if (seed % 4 == 3)
      for (float& value : values) value += 0.01f * static_cast<float>(seed);
    add(values);
  }
  add(std::vector<float>(100, 0.0f));
  add(std::vector<float>(100, 6.0f));
  add({});
  add({1e-40f, 2e-40f});
  add({-3.0e38f, 3.0e38f, 1.0f});
  add({1.0f, 1.0f, 2.0f, 100000.0f});
  add(test::special_values());
  std::vector<float> masked = test::normal_values(5000, 99);
  masked.insert(masked.end(), 500, -65504.0f);
  add(masked);
  return all;
}

TEST_F(CudaSearch, GivesTheEncodingsOfTheCpu) {
  const std::vector<TensorStatistics> all = histograms();
  std::vector<cuda::SearchRequest> requests;
  for (const TensorStatistics& statistics : all)
    for (const int bitwidth : {2, 4, 8, 16})
      for (const bool symmetric : {false, true})
        for (const Scheme scheme : {Scheme::sqnr, Scheme::mse, Scheme::min_max, Scheme::percentile})
          requests.push_back({&statistics,
                              {.bitwidth = bitwidth,
                               .symmetric = symmetric,
                               .strict_symmetric = bitwidth == 8,
                               .unsigned_symmetric = bitwidth == 4,
                               .scheme = scheme}});
  const std::vector<Encoding> found = cuda::find_encodings(requests);
  ASSERT_EQ(found.size(), requests.size());
  for (std::size_t i = 0; i < requests.size(); ++i)
    EXPECT_EQ(found[i], find_encoding(*requests[i].statistics, requests[i].spec)) << i;
}

/// What needs no search needs no device.
TEST(CudaFindEncodings, FormulasStayOnTheHost) {
  const TensorStatistics statistics = observe_values(std::vector<float>{-1.0f, 0.5f, 2.0f});
  const std::vector<cuda::SearchRequest> requests = {{&statistics, {.scheme = Scheme::min_max}}};
  EXPECT_EQ(cuda::find_encodings(requests).at(0), find_encoding(statistics, requests[0].spec));
  const std::vector<cuda::SearchRequest> wrong = {{&statistics, {.bitwidth = 99}}};
  EXPECT_THROW(cuda::find_encodings(wrong), Error);
}

}  // namespace
}  // namespace tare
