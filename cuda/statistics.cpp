// Statistics of many sites on the device: checks, launches and the way back to TensorStatistics.
#include <fmt/format.h>

#include <algorithm>

#include "observe.hpp"
#include "tare/cuda.hpp"

namespace tare::cuda {

struct Statistics::Implementation {
  Implementation(std::size_t count, StreamView stream, const Allocator& allocator)
      : sites(count, stream, allocator),
        partials(most_observer_blocks() + most_tensors, stream, allocator),
        finished(1, stream, allocator) {
    sites.clear(stream);
    finished.clear(stream);
  }

  void launch(TensorList& list, StreamView stream) {
    cuda::observe(list, sites.data(), partials.data(), finished.data(), stream);
    list.count = 0;
    list.tiles = 0;
  }

  DeviceBuffer<Site> sites;
  DeviceBuffer<Exact>
      partials;  ///< one for every (block, tensor) that meet: they meet at most blocks + tensors - 1 times
  DeviceBuffer<unsigned> finished;
};

Statistics::Statistics(std::size_t sites, Stream stream, const Allocator& allocator)
    : implementation_(std::make_unique<Implementation>(sites, StreamView(stream), allocator)) {}
Statistics::~Statistics() = default;
Statistics::Statistics(Statistics&&) noexcept = default;
Statistics& Statistics::operator=(Statistics&&) noexcept = default;

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

std::uint64_t Statistics::nonfinite_count(Stream stream) const {
  std::uint64_t count = 0;
  const StreamView view(stream);
  std::vector<Exact> exact(implementation_->sites.size());
  if (exact.empty()) return 0;
  TARE_CUDA_CHECK(cudaMemcpy2DAsync(exact.data(), sizeof(Exact), &implementation_->sites.data()->exact, sizeof(Site),
                                    sizeof(Exact), exact.size(), cudaMemcpyDeviceToHost, view.get()));
  view.synchronize();
  for (const Exact& site : exact) count += site.nan_count + site.positive_infinity_count + site.negative_infinity_count;
  return count;
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
