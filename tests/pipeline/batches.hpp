// A dataset of batches in memory, and true errors of encodings on what flows through a model.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "support/golden.hpp"
#include "tare/session.hpp"

namespace tare::test {

class MemoryDataset final : public Dataset {
 public:
  explicit MemoryDataset(std::vector<Batch> batches) : batches_(std::move(batches)) {}
  std::optional<Batch> next() override {
    if (position_ == batches_.size()) return std::nullopt;
    return batches_[position_++];
  }
  void rewind() override { position_ = 0; }
  std::size_t samples() const override {
    std::size_t total = 0;
    for (const Batch& batch : batches_) total += batch.samples;
    return total;
  }
  std::size_t batches() const override { return batches_.size(); }
  std::string description() const override { return "batches in memory"; }
  /// Of which samples there are; not of their order or batches.
  std::uint64_t fingerprint() const override {
    std::uint64_t sum = 0;
    for (const Batch& batch : batches_)
      for (std::size_t i = 0; i < batch.samples; ++i) sum += batch.first_sample + i + 1;
    return sum;
  }

 private:
  std::vector<Batch> batches_;
  std::size_t position_ = 0;
};

const GoldenModel& golden_model(const std::string& name);

/// The first `count` batches of the model's data.
std::vector<Batch> first_batches(const GoldenModel& model, const Graph& graph, std::size_t count);

/// Σ (x - q(x))², three times where x lies outside the grid: on every value of every activation, in float64, summed
/// over the tensors that share a quantizer; keyed by the first of them. One figure an encoding set.
std::map<std::string, std::vector<double>> true_costs(Session& session, const std::vector<Batch>& batches,
                                                      const std::vector<QuantSite>& sites,
                                                      const std::vector<const EncodingSet*>& sets);

}  // namespace tare::test
