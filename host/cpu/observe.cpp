// Observers: every tensor is read once, on all threads, into 16-bit counters of each thread, which are drained into
// 32-bit sums and then into the site's sparse counts. Everything that is kept is an integer or an extreme, so that
// chunks, threads, layouts and instruction sets cannot change a bit. Odd: a small tensor goes straight into the site's
// counts: clearing and draining a table would cost more than counting.
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
constexpr std::int64_t sum_limit = std::int64_t{1} << 31;  // elements a thread may add to 32-bit sums

std::uint32_t first_bin_of(float min) { return min == 0.0f ? histogram_side_count : histogram_bin(bits_of(min)); }
std::uint32_t end_bin_of(float max) { return max == 0.0f ? histogram_side_count : histogram_bin(bits_of(max)) + 1; }

/// The counters of one thread; all zero between two tensors.
class Table {
 public:
  void count(const VectorKernels& vector, const float* in, std::int64_t n) {
    while (n > 0) {
      const std::int64_t part = std::min(n, static_cast<std::int64_t>(histogram_run - pending_));
      vector.observe_histogram(in, static_cast<std::size_t>(part), counters_.data(), &extremes_);
      // A call starts again at the first column: its share of a column is that of whole blocks.
      pending_ += (static_cast<std::size_t>(part) + histogram_block - 1) / histogram_block * histogram_block;
      if (pending_ == histogram_run) drain(vector);
      in += part;
      n -= part;
    }
  }
  void add_to(SiteCounts& site) {
    if (extremes_.min <= extremes_.max) site.take(first_bin_of(extremes_.min), end_bin_of(extremes_.max), sums_.data());
    site.add(extremes_);
    extremes_ = {};
  }
  /// Empties the counters into the sums; add_to wants them empty.
  void drain(const VectorKernels& vector) {
    if (pending_ == 0) return;
    const bool finite = extremes_.min <= extremes_.max;
    extremes_.zero_count += vector.drain_histogram(counters_.data(), finite ? first_bin_of(extremes_.min) : 0,
                                                   finite ? end_bin_of(extremes_.max) : 0, sums_.data());
    pending_ = 0;
  }

 private:
  std::vector<std::uint16_t> counters_ =
      std::vector<std::uint16_t>(histogram_bin_count * histogram_columns + histogram_zero_counters);
  std::vector<std::uint32_t> sums_ = std::vector<std::uint32_t>(SiteCounts::sums_size);
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

class CpuObserver final : public Observer {
 public:
  CpuObserver(Device& device, ObserverKind kind, std::size_t sites)
      : device_(device),
        kind_(kind),
        sites_(sites),
        tf_enhanced_(kind == ObserverKind::tf_enhanced ? sites : 0),
        tables_(static_cast<std::size_t>(device.threads())) {}

  void observe(std::size_t site, const Tensor& tensor) override {
    if (site >= sites_.size())
      throw Error(ErrorKind::internal, fmt::format("observer: site {} of {}", site, sites_.size()));
    if (!is_quantizable(tensor.type()))
      throw Error(ErrorKind::data, fmt::format("observer: a tensor of type {} cannot be observed; float32, float16 and "
                                               "bfloat16 can",
                                               name_of(tensor.type())));
    SiteCounts& counts = sites_[site];
    const std::int64_t elements = tensor.elements();
    counts.add_elements(static_cast<std::uint64_t>(elements));
    if (kind_ == ObserverKind::tf_enhanced) observe_batch(site, tensor);
    if (kind_ != ObserverKind::histogram)
      observe_extremes(counts, tensor);
    else if (elements < small_tensor)
      observe_small(counts, tensor);
    else
      for (std::int64_t begin = 0; begin < elements; begin += sum_limit)
        observe_histogram(counts, tensor, begin, std::min(elements, begin + sum_limit));
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
  /// Splits elements [begin, end) among the threads and calls body(slot, first, last).
  template <class Body>
  void split(std::int64_t begin, std::int64_t end, Body&& body) {
    const std::int64_t slots =
        std::clamp<std::int64_t>((end - begin) / thread_grain, 1, static_cast<std::int64_t>(device_.threads()));
    const std::int64_t elements = end - begin;
    device_.parallel(slots, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t slot = first; slot < last; ++slot)
        body(static_cast<std::size_t>(slot), begin + elements * slot / slots, begin + elements * (slot + 1) / slots);
    });
  }

  void observe_extremes(SiteCounts& counts, const Tensor& tensor) {
    const VectorKernels& vector = device_.vector();
    std::vector<Extremes> extremes(static_cast<std::size_t>(device_.threads()));
    split(0, tensor.elements(), [&](std::size_t slot, std::int64_t begin, std::int64_t end) {
      for_floats(vector, tensor, begin, end, [&](const float* in, std::int64_t n) {
        vector.observe_extremes(in, static_cast<std::size_t>(n), &extremes[slot]);
      });
    });
    for (const Extremes& more : extremes) counts.add(more);
  }

  /// AIMET's histogram takes all elements of a tensor as one batch.
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

  void observe_small(SiteCounts& counts, const Tensor& tensor) {
    const VectorKernels& vector = device_.vector();
    Extremes extremes;
    for_floats(vector, tensor, 0, tensor.elements(), [&](const float* in, std::int64_t n) {
      vector.observe_extremes(in, static_cast<std::size_t>(n), &extremes);
      for (std::int64_t i = 0; i < n; ++i) {
        const std::uint32_t bits = bits_of(in[i]);
        const std::uint32_t magnitude = bits & 0x7fffffffu;
        if (magnitude != 0 && magnitude < 0x7f800000u) counts.add(histogram_bin(bits), 1);
      }
    });
    counts.add(extremes);
  }

  void observe_histogram(SiteCounts& counts, const Tensor& tensor, std::int64_t begin, std::int64_t end) {
    const VectorKernels& vector = device_.vector();
    split(begin, end, [&](std::size_t slot, std::int64_t first, std::int64_t last) {
      if (!tables_[slot]) tables_[slot] = std::make_unique<Table>();
      for_floats(vector, tensor, first, last,
                 [&](const float* in, std::int64_t n) { tables_[slot]->count(vector, in, n); });
      tables_[slot]->drain(vector);
    });
    for (const auto& table : tables_)
      if (table) table->add_to(counts);
  }

  Device& device_;
  ObserverKind kind_;
  std::vector<SiteCounts> sites_;
  std::vector<TfEnhancedHistogram> tf_enhanced_;  ///< one a site, for that kind only
  std::vector<std::unique_ptr<Table>> tables_;    ///< one a thread, made when first used
};

}  // namespace

std::unique_ptr<Observer> make_observer(Device& device, ObserverKind kind, std::size_t sites) {
  return std::make_unique<CpuObserver>(device, kind, sites);
}

}  // namespace tare::cpu
