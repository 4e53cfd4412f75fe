// Statistics of many sites on the device: checks, launches and the way back to TensorStatistics. Odd: the device memory
// is cleared and given back on the stream of the constructor; who observes on another one makes that wait for the
// first, and the first for that.
#include <fmt/format.h>

#include <algorithm>

#include "observe.hpp"
#include "staging.hpp"
#include "tare/cuda.hpp"

namespace tare::cuda {

struct Statistics::Implementation {
  Implementation(std::size_t count, StreamView stream, const Allocator& allocator)
      : sites(count, stream, allocator),
        partials(most_observer_partials(), stream, allocator),
        finished(1, stream, allocator) {
    sites.clear(stream);
    finished.clear(stream);
  }
  Implementation(const Implementation&) = delete;
  Implementation& operator=(const Implementation&) = delete;
  ~Implementation() {
    try {
      arrived.synchronize();  // a copy may still be on its way to `requested`
    } catch (const Error&) {  // NOLINT(bugprone-empty-catch): a device that is lost reports itself at the next call
    }
  }

  void launch(TensorList& list, StreamView stream) {
    cuda::observe(list, sites.data(), partials.data(), finished.data(), stream);
    list.count = 0;
    list.tiles = 0;
  }

  DeviceBuffer<Site> sites;
  DeviceBuffer<Exact> partials;
  DeviceBuffer<unsigned> finished;
  PinnedBuffer requested;  ///< an Exact a site
  Event arrived;
};

namespace {

std::uint64_t sum_of(std::span<const Exact> sites) {
  std::uint64_t count = 0;
  for (const Exact& site : sites) count += site.nan_count + site.positive_infinity_count;
  return count;
}

/// The exact part of every site.
void download_exact(const DeviceBuffer<Site>& sites, Exact* to, StreamView stream) {
  TARE_CUDA_CHECK(cudaMemcpy2DAsync(to, sizeof(Exact), &sites.data()->exact, sizeof(Site), sizeof(Exact), sites.size(),
                                    cudaMemcpyDeviceToHost, stream.get()));
}

}  // namespace

Statistics::Statistics(std::size_t sites, Stream stream, const Allocator& allocator)
    : implementation_(std::make_unique<Implementation>(sites, StreamView(stream), allocator)) {}
Statistics::~Statistics() = default;
Statistics::Statistics(Statistics&&) noexcept = default;
Statistics& Statistics::operator=(Statistics&&) noexcept = default;

SiteMemory Statistics::memory_of(std::size_t site) const {
  return {implementation_->sites.data() + site, implementation_->partials.data(), implementation_->finished.data()};
}

void Statistics::observe(std::span<const ObservedTensor> tensors, Stream stream) {
  for (const ObservedTensor& tensor : tensors) {
    if (tensor.site >= implementation_->sites.size())
      throw Error(ErrorKind::usage, fmt::format("observe: site {} of {}", tensor.site, implementation_->sites.size()));
    if (!is_quantizable(tensor.type))
      throw Error(ErrorKind::data, fmt::format("observe: a tensor of type {} cannot be observed; float32, float16 and "
                                               "bfloat16 can",
                                               name_of(tensor.type)));
    if (reinterpret_cast<std::uintptr_t>(tensor.data) % size_of(tensor.type) != 0)
      throw Error(ErrorKind::usage, fmt::format("observe: the data of site {} are not aligned to an element of {}",
                                                tensor.site, name_of(tensor.type)));
  }
  TensorList list{};
  for (const ObservedTensor& tensor : tensors)
    for (std::uint64_t begin = 0; begin < tensor.elements; begin += most_elements) {
      const std::uint32_t part = static_cast<std::uint32_t>(std::min(most_elements, tensor.elements - begin));
      const auto* data = static_cast<const std::byte*>(tensor.data) + begin * size_of(tensor.type);
      list.add(data, part, tensor.site, tensor.type);
      if (list.count == most_tensors) implementation_->launch(list, StreamView(stream));
    }
  implementation_->launch(list, StreamView(stream));
}

std::uint64_t Statistics::unusable_count(Stream stream) const {
  std::vector<Exact> exact(implementation_->sites.size());
  if (exact.empty()) return 0;
  download_exact(implementation_->sites, exact.data(), StreamView(stream));
  StreamView(stream).synchronize();
  return sum_of(exact);
}

void Statistics::request_unusable_count(Stream stream) {
  Implementation& self = *implementation_;
  if (self.sites.size() == 0) return;
  if (self.requested.data() == nullptr) self.requested = PinnedBuffer(self.sites.size() * sizeof(Exact));
  self.arrived.synchronize();  // nobody writes there any more
  download_exact(self.sites, static_cast<Exact*>(self.requested.data()), StreamView(stream));
  self.arrived.record(StreamView(stream));
}

std::uint64_t Statistics::requested_unusable_count() const {
  const Implementation& self = *implementation_;
  if (self.requested.data() == nullptr) return 0;
  self.arrived.synchronize();
  return sum_of({static_cast<const Exact*>(self.requested.data()), self.sites.size()});
}

std::vector<TensorStatistics> Statistics::collect(Stream stream) const {
  const StreamView view(stream);
  std::vector<Site> sites(implementation_->sites.size());
  implementation_->sites.download({sites.data(), sites.size()}, view);
  view.synchronize();
  std::vector<TensorStatistics> all;
  all.reserve(sites.size());
  for (const Site& site : sites) {
    TensorStatistics& statistics = all.emplace_back();
    const Exact& exact = site.exact;
    statistics.count = site.elements;
    statistics.nan_count = exact.nan_count;
    statistics.positive_infinity_count = exact.positive_infinity_count;
    statistics.negative_infinity_count = exact.negative_infinity_count;
    statistics.zero_count = exact.zero_count;
    statistics.min = minimum_of(exact);
    statistics.max = maximum_of(exact);
    statistics.min_count = statistics.min == 0.0f ? exact.zero_count : exact.low_count;
    statistics.max_count = statistics.max == 0.0f ? exact.zero_count : exact.high_count;
    for (std::uint32_t bin = 0; bin < histogram_bin_count; ++bin)
      if (site.bins[bin] != 0) statistics.bins.emplace_back(bin, site.bins[bin]);
  }
  return all;
}

}  // namespace tare::cuda
