// Which values a calibration need not read, and their statistics once the others are known (plan/derived_values says
// which follow from which, calib/derived how).
#pragma once

#include <functional>
#include <map>
#include <span>
#include <vector>

#include "plan/derived_values.hpp"
#include "tare/backend.hpp"
#include "tare/calibration.hpp"
#include "tare/statistics.hpp"

namespace tare {

class DerivedStatistics {
 public:
  /// `observed`: by value of the graph, which must outlive this. `kind`: what is kept of each.
  DerivedStatistics(const Graph& graph, const std::vector<bool>& observed, ObserverKind kind, bool read_every_tensor);

  /// What a run over the data has to find out of an observed value.
  enum class Reading { all, extremes, nothing };
  Reading reading(ValueId value) const { return readings_[static_cast<std::size_t>(value)]; }

  /// Adds the statistics of derived values to those of the values that were read, where their sources are known.
  /// Statistics of a value that is derived with its extremes read may be there without a histogram.
  void complete(std::map<ValueId, TensorStatistics>& known, Backend& backend, int threads) const;

 private:
  using Apply = std::function<std::vector<float>(Graph function, std::span<const float> points)>;
  TensorStatistics derive(const DerivedValue& value, const std::map<ValueId, TensorStatistics>& known,
                          const Apply& apply) const;
  /// `extremes`: those that were read of the value, or null.
  TensorStatistics image(const DerivedValue& value, const TensorStatistics& source, const TensorStatistics* extremes,
                         const std::map<ValueId, TensorStatistics>& known, const Apply& apply) const;

  const Graph& graph_;
  std::vector<DerivedValue> values_;
  std::vector<Reading> readings_;
  bool histograms_;
};

/// Saved statistics by the value of the graph that has their name.
std::map<ValueId, TensorStatistics> statistics_of_values(const Graph& graph, std::span<const NamedStatistics> saved);
/// Adds to `observed` the values that statistics are known of.
void add_known(std::vector<bool>& observed, const Graph& graph, const std::map<ValueId, TensorStatistics>& known);

}  // namespace tare
