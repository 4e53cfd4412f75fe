// Observers: every tensor is read once, on all threads, into 16-bit counters of each thread, which are emptied into the
// site's sparse counts. Everything that is kept is an integer or an extreme, so that chunks, threads, layouts and
// instruction sets cannot change a bit.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "cpu/quantize.hpp"
#include "cpu/site_counts.hpp"
#include "cpu/vector.hpp"
#include "tare/calibration.hpp"

namespace tare::cpu {
namespace {

constexpr std::int64_t small_tensor = 1024;
constexpr std::int64_t thread_grain =
    8192;  // 32768: observing takes a tenth longer on models of tensors of 25,000 to 50,000 elements
constexpr std::int64_t widening_chunk = 4096;

std::uint32_t first_bin_of(float min) { return min == 0.0f ? histogram_side_count : histogram_bin(bits_of(min)); }
std::uint32_t end_bin_of(float max) { return max == 0.0f ? histogram_side_count : histogram_bin(bits_of(max)) + 1; }

/// What one thread counts of one tensor; empty between two tensors.
class alignas(64) Counter {  // threads write to neighbours
 public:
  void count(const VectorKernels& vector, SiteCounts& site, const float* in, std::size_t n) {
    if (counters_.empty())
      counters_.resize(std::size_t{SiteCounts::groups} * SiteCounts::group_bins * histogram_columns +
                       2 * histogram_zero_counters);
    while (n > 0) {
      const std::size_t part = std::min(n, histogram_run - pending_);
      vector.observe_histogram(in, part, counters_.data(), &extremes_);
      // A call starts again at the first column: its share of a column is that of whole blocks.
      pending_ += (part + histogram_block - 1) / histogram_block * histogram_block;
      if (pending_ == histogram_run) {
        const auto locked = site.lock();
        empty_into(vector, site);
      }
      in += part;
      n -= part;
    }
  }
  /// Of a small tensor that this thread counts alone: clearing and emptying a table would cost more than counting.
  void count_small(const VectorKernels& vector, SiteCounts& site, const float* in, std::size_t n) {
    vector.observe_extremes(in, n, &extremes_);
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint32_t bits = bits_of(in[i]);
      const std::uint32_t magnitude = bits & 0x7fffffffu;
      if (magnitude != 0 && magnitude < 0x7f800000u) site.add(histogram_bin(bits), 1);
    }
  }
  void look_at_extremes(const VectorKernels& vector, const float* in, std::size_t n) {
    vector.observe_extremes(in, n, &extremes_);
  }
  void close(const VectorKernels& vector, SiteCounts& site) {
    const auto locked = site.lock();
    if (pending_ != 0) empty_into(vector, site);
    site.add(extremes_);
    extremes_ = {};
  }

 private:
  void empty_into(const VectorKernels& vector, SiteCounts& site) {
    pending_ = 0;
    extremes_.zero_count += vector.take_zeros(counters_.data());
    if (!(extremes_.min <= extremes_.max)) return;  // nothing finite
    std::array<std::uint32_t, SiteCounts::group_bins> counts;
    const std::uint32_t end = end_bin_of(extremes_.max);
    for (std::uint32_t group = first_bin_of(extremes_.min) / SiteCounts::group_bins;
         group * SiteCounts::group_bins < end; ++group)
      if (vector.take_group(counters_.data() + group * SiteCounts::group_bins * histogram_columns, counts.data()))
        site.add_group(group, counts.data());
  }

  std::vector<std::uint16_t> counters_;  ///< made when first used; all zero when nothing is pending
  std::size_t pending_ = 0;
  Extremes extremes_;
};

/// Calls body(floats, n) over elements [begin, end) of a tensor of any quantizable type, in memory order.
template <class Body>
void for_floats(const VectorKernels& vector, const Tensor& tensor, std::int64_t begin, std::int64_t end, Body&& body) {
  if (tensor.type() == DataType::float32) {
    body(tensor.data<float>() + begin, end - begin);
    return;
  }
  const auto widen = tensor.type() == DataType::float16 ? vector.widen_float16 : vector.widen_bfloat16;
  alignas(64) std::array<float, widening_chunk> wide;
  for (; begin < end; begin += widening_chunk) {
    const std::int64_t part = std::min(widening_chunk, end - begin);
    widen(tensor.data<std::uint16_t>() + begin, wide.data(), static_cast<std::size_t>(part));
    body(wide.data(), part);
  }
}

class CpuObserver final : public Observer, public PieceObserver {
 public:
  CpuObserver(Device& device, ObserverKind kind, std::size_t sites)
      : device_(device), kind_(kind), sites_(sites), tf_enhanced_(kind == ObserverKind::tf_enhanced ? sites : 0) {}

  void observe(std::size_t site, const Tensor& tensor) override {
    if (site >= sites_.size())
      throw Error(ErrorKind::internal, fmt::format("observer: site {} of {}", site, sites_.size()));
    if (!is_quantizable(tensor.type()))
      throw Error(ErrorKind::data, fmt::format("observer: a tensor of type {} cannot be observed; float32, float16 and "
                                               "bfloat16 can",
                                               name_of(tensor.type())));
    if (kind_ == ObserverKind::tf_enhanced) observe_batch(site, tensor);
    const std::int64_t elements = tensor.elements();
    begin(0, site, elements);
    const std::int64_t slots = std::clamp<std::int64_t>(elements / thread_grain, 1, device_.threads());
    device_.parallel(slots, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t slot = first; slot < last; ++slot) {
        const auto own = static_cast<std::size_t>(slot);
        for_floats(device_.vector(), tensor, elements * slot / slots, elements * (slot + 1) / slots,
                   [&](const float* in, std::int64_t n) { count(0, own, in, static_cast<std::size_t>(n)); });
        close(0, own);
      }
    });
  }

  /// AIMET's histogram takes all elements of a tensor as one batch.
  PieceObserver* pieces() override { return kind_ == ObserverKind::tf_enhanced ? nullptr : this; }
  void begin(std::size_t pass, std::size_t site, std::int64_t elements) override {
    while (passes_.size() <= pass)
      passes_.push_back({nullptr, false, std::vector<Counter>(static_cast<std::size_t>(device_.threads()))});
    sites_[site].add_elements(static_cast<std::uint64_t>(elements));
    passes_[pass].site = &sites_[site];
    passes_[pass].small = elements < small_tensor;
  }
  void count(std::size_t pass, std::size_t slot, const float* in, std::size_t n) override {
    Pass& p = passes_[pass];
    Counter& counter = p.counters[slot];
    if (kind_ != ObserverKind::histogram) return counter.look_at_extremes(device_.vector(), in, n);
    if (p.small) return counter.count_small(device_.vector(), *p.site, in, n);
    counter.count(device_.vector(), *p.site, in, n);
  }
  void close(std::size_t pass, std::size_t slot) override {
    Pass& p = passes_[pass];
    p.counters[slot].close(device_.vector(), *p.site);
  }

  std::uint64_t nonfinite_count() const override {
    std::uint64_t count = 0;
    for (const SiteCounts& site : sites_) count += site.nonfinite_count();
    return count;
  }

  std::vector<TensorStatistics> collect() const override {
    std::vector<TensorStatistics> all;
    all.reserve(sites_.size());
    for (const SiteCounts& site : sites_) all.push_back(site.statistics());
    for (std::size_t site = 0; site < tf_enhanced_.size(); ++site) all[site].tf_enhanced = tf_enhanced_[site];
    return all;
  }

 private:
  void observe_batch(std::size_t site, const Tensor& tensor) {
    std::vector<float> wide;
    if (tensor.type() != DataType::float32) {
      wide.reserve(static_cast<std::size_t>(tensor.elements()));
      for_floats(device_.vector(), tensor, 0, tensor.elements(),
                 [&](const float* in, std::int64_t n) { wide.insert(wide.end(), in, in + n); });
    }
    update(tf_enhanced_[site],
           tensor.type() == DataType::float32 ? tensor.span<float>() : std::span<const float>(wide));
  }

  Device& device_;
  ObserverKind kind_;
  std::vector<SiteCounts> sites_;
  std::vector<TfEnhancedHistogram> tf_enhanced_;  ///< one a site, for that kind only
  struct Pass {
    SiteCounts* site;
    bool small;
    std::vector<Counter> counters;  ///< of every thread
  };
  std::vector<Pass> passes_;
};

}  // namespace

std::unique_ptr<Observer> make_observer(Device& device, ObserverKind kind, std::size_t sites) {
  return std::make_unique<CpuObserver>(device, kind, sites);
}

}  // namespace tare::cpu
