// Statistics of values in memory, counted as the CPU's observers count.
#include "calib/share.hpp"
#include "cpu/counter.hpp"
#include "tare/calibration.hpp"

namespace tare {

TensorStatistics observe_values(std::span<const float> values, ObserverKind kind) {
  constexpr std::size_t piece = std::size_t{1} << 18;
  const cpu::VectorKernels& vector = cpu::vector_kernels(cpu::supported_isa(Isa::automatic));
  cpu::SiteCounts site;
  site.add_elements(values.size());
  calib::share((values.size() + piece - 1) / piece, 1, [&](std::size_t i) {
    const auto part = values.subspan(i * piece, std::min(piece, values.size() - i * piece));
    cpu::Counter counter;
    if (kind != ObserverKind::histogram)
      counter.look_at_extremes(vector, part.data(), part.size());
    else if (values.size() < cpu::small_tensor)
      counter.count_small(vector, site, part.data(), part.size());
    else
      counter.count(vector, site, part.data(), part.size());
    counter.close(vector, site);
  });
  return site.statistics();
}

}  // namespace tare
