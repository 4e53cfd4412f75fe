// Observers of the device against those of the CPU, equal in every field; and the table of counters, on the host.
#include <set>

#include "cuda/device.hpp"
#include "histogram_slot.hpp"
#include "kernels/inputs.hpp"
#include "tare/backend.hpp"

namespace tare {
namespace {

using CudaObserve = test::CudaTest;

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

TEST_F(CudaObserve, GivesTheStatisticsOfTheCpu) {
  const auto cpu = make_cpu_backend();
  const auto all = inputs();
  for (const DataType type : {DataType::float32, DataType::float16, DataType::bfloat16})
    for (const std::size_t shift : {std::size_t{0}, size_of(type)}) {
      const auto observer = cpu->make_observer(ObserverKind::histogram, all.size() + 1);
      cuda::Statistics statistics(all.size() + 1);
      std::vector<test::DeviceBytes> device;
      std::vector<cuda::ObservedTensor> list;
      for (std::size_t site = 0; site < all.size(); ++site) {
        const Tensor tensor = convert(all[site], type);
        device.emplace_back(tensor.data(), tensor.bytes(), shift);
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
      EXPECT_EQ(statistics.nonfinite_count(), observer->nonfinite_count());
    }
}

/// The table of the kernel's counters, checked on the host.
TEST(CudaHistogramSlot, EveryBinHasAPlaceOfItsOwn) {
  std::set<std::uint32_t> slots;
  for (std::uint32_t bin = 0; bin < histogram_bin_count; ++bin) {
    const std::uint32_t slot = cuda::histogram_slot(cuda::histogram_bin_bits(bin));
    EXPECT_LT(slot, cuda::histogram_slots);
    EXPECT_TRUE(slots.insert(slot).second) << "bin " << bin;
  }
}

TEST(CudaHistogramSlot, TheValuesOfABinShareItsPlace) {
  for (std::uint64_t step = 1; step < (std::uint64_t{1} << 31); step += 0x3fd1) {
    const std::uint32_t magnitude = static_cast<std::uint32_t>(step);
    if (magnitude >= 0x7f800000u) break;
    for (const std::uint32_t bits : {magnitude, magnitude | 0x80000000u}) {
      ASSERT_EQ(cuda::histogram_slot(bits), cuda::histogram_slot(cuda::histogram_bin_bits(histogram_bin(bits))))
          << bits;
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
