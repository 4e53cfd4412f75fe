// Observers: every tensor is read once, on all threads, into 16-bit counters of each thread, which are emptied into the
// site's sparse counts. Everything that is kept is an integer or an extreme, so that chunks, threads, layouts and
// instruction sets cannot change a bit.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "calib/share.hpp"
#include "cpu/counter.hpp"
#include "cpu/quantize.hpp"
#include "cpu/vector.hpp"
#include "tare/calibration.hpp"

namespace tare::cpu {
namespace {

constexpr std::int64_t thread_grain =
    8192;  // 32768: observing takes a tenth longer on models of tensors of 25,000 to 50,000 elements
constexpr std::int64_t widening_chunk = 4096;

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
    const std::int64_t slots = slots_of(elements);
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
    passes_[pass].small = elements < static_cast<std::int64_t>(small_tensor);
  }
  void count(std::size_t pass, std::size_t slot, const float* in, std::size_t n) override {
    Pass& p = passes_[pass];
    Counter& counter = p.counters[slot];
    if (kind_ != ObserverKind::histogram) return counter.look_at_extremes(device_.vector(), in, n);
    if (p.small) return counter.count_small(device_.vector(), *p.site, in, n);
    counter.count(device_.vector(), *p.site, in, n);
  }
  bool has_tables() const override { return kind_ == ObserverKind::histogram; }
  void close(std::size_t pass, std::size_t slot) override {
    Pass& p = passes_[pass];
    p.counters[slot].close(device_.vector(), *p.site);
  }

  std::uint64_t unusable_count() const override {
    std::uint64_t count = 0;
    for (const SiteCounts& site : sites_) count += site.unusable_count();
    return count;
  }

  void add(const Observer& of_lane) override {
    const auto& other = dynamic_cast<const CpuObserver&>(of_lane);
    for (std::size_t site = 0; site < sites_.size(); ++site) sites_[site].add(other.sites_.at(site));
  }

  std::vector<TensorStatistics> collect() const override {
    std::vector<TensorStatistics> all;
    all.reserve(sites_.size());
    for (const SiteCounts& site : sites_) all.push_back(site.statistics());
    for (std::size_t site = 0; site < tf_enhanced_.size(); ++site) all[site].tf_enhanced = tf_enhanced_[site];
    return all;
  }

 private:
  std::int64_t slots_of(std::int64_t elements) const {
    return std::clamp<std::int64_t>(elements / thread_grain, 1, device_.threads());
  }
  void observe_batch(std::size_t site, const Tensor& tensor) {
    std::vector<float> wide;
    if (tensor.type() != DataType::float32) {
      wide.reserve(static_cast<std::size_t>(tensor.elements()));
      for_floats(device_.vector(), tensor, 0, tensor.elements(),
                 [&](const float* in, std::int64_t n) { wide.insert(wide.end(), in, in + n); });
    }
    const auto values = tensor.type() == DataType::float32 ? tensor.span<float>() : std::span<const float>(wide);
    calib::with_team(static_cast<int>(slots_of(tensor.elements())), [&] { update(tf_enhanced_[site], values); });
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
