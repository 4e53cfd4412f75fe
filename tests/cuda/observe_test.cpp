// Observers of the device against those of the CPU, equal in every field; and the table of counters, on the host.
#include <cmath>
#include <limits>
#include <set>

#include "cuda/device.hpp"
#include "histogram_slot.hpp"
#include "kernels/inputs.hpp"
#include "tare/backend.hpp"

namespace tare {
namespace {

using CudaObserve = test::CudaTest;

constexpr std::size_t tile = 6144;  // of float32; of halves it is twice as much

/// `size` values, taken in turn from `values`.
std::vector<float> repeated(std::size_t size, const std::vector<float>& values) {
  std::vector<float> all(size);
  for (std::size_t i = 0; i < size; ++i) all[i] = values[i % values.size()];
  return all;
}

/// What the counters treat in a way of its own: zeros, values below the fine bins and above them, extremes that come
/// again and again, tensors of one sign, sizes around a tile.
std::vector<std::vector<float>> odd_inputs() {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<std::vector<float>> alphabets = {
      {0.0f},
      {0.0f, -0.0f, 0.0f},
      {-0.0f, -1.5f},
      {-0.0f, 2.5f, 0.0f},
      {1e-12f},
      {-1e-12f, 0.0f, 1e-20f},
      {0x1p-30f, -0x1p-30f, 0x1.fffffep-31f, 0x1p-31f, -0x1p-31f},
      {0x1p-149f, 0.0f},
      {-0x1p-149f},
      {-7.0f},
      {1e25f},
      {-1e25f, 3.0f, 0.0f},
      {0x1p20f, 0x1.fffffep19f, -0x1p20f, -0x1.fffffep19f},
      {0.25f, 1.0f, 0.5f, 0.25f, 1.0f},
      {-0.25f, -1.0f, -0.5f, -0.25f},
      {nan},
      {0.0f, nan, -infinity},
      {infinity, -infinity},
      {infinity, 4.0f, -nan, -4.0f, 1e-12f},
  };
  std::vector<std::vector<float>> all;
  for (std::size_t i = 0; i < alphabets.size(); ++i) all.push_back(repeated(2 * tile + 1 + 97 * i, alphabets[i]));
  for (const std::size_t size : {tile - 1, tile, tile + 1, 2 * tile, 4 * tile, 5 * tile + 33})
    all.push_back(test::normal_values(size, 5));
  std::vector<float> positive = test::normal_values(4 * tile + 7, 6);
  for (float& value : positive) value = std::fabs(value);
  all.push_back(positive);
  for (float& value : positive) value = -value;
  all.push_back(positive);
  // Every tile holds one value of another kind: an extreme twice, then one that is none.
  for (const float rare : {1e-12f, -1e-12f, 1e25f, -1e25f, -infinity, -0.0f, 100.0f, -100.0f}) {
    std::vector<float> values = test::normal_values(5 * tile + 11, 7);
    for (std::size_t i = 0; i < 5; ++i) values[i * tile + 100] = i % 3 == 2 ? rare / 2 : rare;
    all.push_back(values);
  }
  return all;
}

std::vector<std::vector<float>> inputs() {
  std::vector<std::vector<float>> all;
  all.push_back(test::normal_values(1000003, 1));
  all.push_back(test::normal_values(6144 * 9, 2, 1e-12f));
  all.push_back(std::vector<float>(70001, 3.25f));
  all.push_back(std::vector<float>(70001, -0.0f));
  all.push_back(test::special_values());
  all.push_back(test::finite_values());
  all.push_back({});
  all.push_back({-1.5f});
  std::vector<float> relu = test::normal_values(300000, 3);
  for (float& value : relu) value = value > 0 ? value : 0.0f;
  all.push_back(relu);
  std::vector<float> powers(200000);
  for (std::size_t i = 0; i < powers.size(); ++i)
    powers[i] = __builtin_ldexpf(i % 3 ? 1.0f : -1.0f, static_cast<int>(i % 21) * 2 - 20);
  all.push_back(powers);
  all.push_back(test::normal_values(100000, 4, 1e30f));
  std::vector<float> mixed;
  for (int i = 0; i < 40; ++i)
    for (const float value : test::special_values()) mixed.push_back(value);
  all.push_back(mixed);
  return all;
}

Tensor convert(const std::vector<float>& values, DataType type) {
  Tensor tensor = Tensor::host(type, Shape{static_cast<std::int64_t>(values.size())});
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (type == DataType::float32) tensor.mutable_data<float>()[i] = values[i];
    if (type == DataType::float16) tensor.mutable_data<std::uint16_t>()[i] = float_to_half(values[i]);
    if (type == DataType::bfloat16) tensor.mutable_data<std::uint16_t>()[i] = float_to_bfloat(values[i]);
  }
  return tensor;
}

/// `shifts`: elements by which the data begin behind an aligned address.
void compare_with_the_cpu(const std::vector<std::vector<float>>& all, const std::vector<std::size_t>& shifts = {0, 1}) {
  const auto cpu = make_cpu_backend();
  for (const DataType type : {DataType::float32, DataType::float16, DataType::bfloat16})
    for (const std::size_t shift : shifts) {
      const auto observer = cpu->make_observer(ObserverKind::histogram, all.size() + 1);
      cuda::Statistics statistics(all.size() + 1);
      std::vector<test::DeviceBytes> device;
      std::vector<cuda::ObservedTensor> list;
      for (std::size_t site = 0; site < all.size(); ++site) {
        const Tensor tensor = convert(all[site], type);
        device.emplace_back(tensor.data(), tensor.bytes(), shift * size_of(type));
        list.push_back({device.back().data(), all[site].size(), type, static_cast<std::uint32_t>(site)});
        list.push_back({device.back().data(), all[site].size(), type, static_cast<std::uint32_t>(all.size())});
        observer->observe(site, tensor);
        observer->observe(all.size(), tensor);
      }
      statistics.observe(list);
      for (int batch = 0; batch < 4; ++batch) {  // more than one launch's list, and sites that go on
        for (std::size_t site = 0; site < all.size(); ++site) observer->observe(site, convert(all[site], type));
        for (std::size_t site = 0; site < all.size(); ++site) statistics.observe(std::span(list).subspan(2 * site, 1));
      }
      const auto expected = observer->collect();
      const auto found = statistics.collect();
      for (std::size_t site = 0; site <= all.size(); ++site)
        EXPECT_EQ(found[site], expected[site]) << name_of(type) << " site " << site << " shifted by " << shift;
      EXPECT_EQ(statistics.unusable_count(), observer->unusable_count());
    }
}

TEST_F(CudaObserve, GivesTheStatisticsOfTheCpu) { compare_with_the_cpu(inputs()); }
TEST_F(CudaObserve, GivesThemOfOddValues) { compare_with_the_cpu(odd_inputs()); }

/// Vectors of 16 bytes that are not wholly the tensor's, and tiles that hold nothing else.
TEST_F(CudaObserve, CountsNothingAroundTheTensor) {
  std::vector<std::vector<float>> all;
  for (const std::size_t size : {1, 2, 3, 5, 7, 8, 9, 12, 16, 17}) all.push_back(test::normal_values(size, 8));
  for (const std::size_t size : {2 * tile - 9, 2 * tile - 7, 2 * tile - 2, 2 * tile})
    all.push_back(test::normal_values(size, 9));
  compare_with_the_cpu(all, {0, 1, 3, 4, 7});
}

/// Bits of the smallest magnitude of a bin, with its sign.
std::uint32_t first_bits(std::uint32_t bin) {
  const bool negative = bin < histogram_side_count;
  const double edge = negative ? histogram_bin_upper(bin) : histogram_bin_lower(bin);
  return bits_of(static_cast<float>(edge)) | (negative ? 0x80000000u : 0u);
}

/// The table of the kernel's counters, checked on the host.
TEST(CudaHistogramSlot, EveryBinHasAPlaceOfItsOwn) {
  std::set<std::uint32_t> slots = {cuda::zero_slot, cuda::negative_zero_slot};
  EXPECT_EQ(slots.size(), 2u);
  for (std::uint32_t bin = 0; bin < histogram_bin_count; ++bin) {
    const std::uint32_t bits = first_bits(bin);
    // The bins of subnormals begin with zeros, which have other places.
    const std::uint32_t slot = cuda::histogram_slot((bits & 0x7fffffffu) == 0 ? bits + 1 : bits);
    EXPECT_LT(slot, cuda::histogram_slots);
    EXPECT_TRUE(slots.insert(slot).second) << "bin " << bin;
    EXPECT_EQ(cuda::bits_of_slot(slot), bits) << "bin " << bin;
    EXPECT_EQ(histogram_bin(cuda::bits_of_slot(slot)), bin);
  }
}

TEST(CudaHistogramSlot, ZerosHaveTheirPlaces) {
  EXPECT_EQ(cuda::histogram_slot(bits_of(0.0f)), cuda::zero_slot);
  EXPECT_EQ(cuda::histogram_slot(bits_of(-0.0f)), cuda::negative_zero_slot);
  EXPECT_EQ(cuda::fine_slot(bits_of(0.0f)), cuda::zero_slot);
  EXPECT_EQ(cuda::fine_slot(bits_of(-0.0f)), cuda::negative_zero_slot);
  EXPECT_NE(cuda::zero_slot % 32, cuda::negative_zero_slot % 32);
}

TEST(CudaHistogramSlot, TheValuesOfABinShareItsPlace) {
  for (std::uint64_t step = 1; step < (std::uint64_t{1} << 31); step += 0x3fd1) {
    const std::uint32_t magnitude = static_cast<std::uint32_t>(step);
    if (magnitude >= 0x7f800000u) break;
    for (const std::uint32_t bits : {magnitude, magnitude | 0x80000000u}) {
      ASSERT_EQ(histogram_bin(cuda::bits_of_slot(cuda::histogram_slot(bits))), histogram_bin(bits)) << bits;
      if (magnitude >= cuda::fine_magnitude && magnitude < cuda::fine_magnitude_end) {
        ASSERT_EQ(cuda::histogram_slot(bits), cuda::fine_slot(bits)) << bits;
      }
    }
  }
}

TEST(CudaHistogramSlot, PowersOfTwoSpreadOverTheBanks) {
  std::set<std::uint32_t> banks;
  for (int exponent = -16; exponent < 16; ++exponent)
    banks.insert(cuda::histogram_slot(bits_of(__builtin_ldexpf(1.0f, exponent))) % 32);
  EXPECT_EQ(banks.size(), 32u);
  EXPECT_NE(cuda::histogram_slot(bits_of(1.0f)) % 32, cuda::histogram_slot(bits_of(-1.0f)) % 32);
}

}  // namespace
}  // namespace tare
