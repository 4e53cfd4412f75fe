// From statistics to encodings: every scheme, every grid, per tensor, channel and block. Pure functions: the same
// statistics give the same encodings, on any machine. Formulas and sources: docs/numerics.md. Odd: TensorStatistics say
// nothing of the scheme; only `tf_enhanced` needs a histogram of its own, which depends on the order of the batches.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tare/quantizer.hpp"
#include "tare/statistics.hpp"
#include "tare/tensor.hpp"

namespace tare {

struct SearchOptions {
  Scheme scheme = Scheme::sqnr;  ///< unless the quantizer has its own
  double gamma = 3;              ///< weight of saturation noise in `sqnr`; `mse` uses 1
  double percentile = 99.99;     ///< `percentile`: share of the values on the inner side of each limit
  bool keep_sentinels = false;   ///< do not clamp sentinels (see find_sentinels)
};

/// No value above this only marks something.
inline constexpr float highest_sentinel = -1e4f;

/// Values that only mark something (attention masks): finite values <= -1e4 and -inf, further from all others than 2^10
/// and than 64 times their largest magnitude.
struct Sentinels {
  std::uint64_t count = 0;
  float min = 0;     ///< the lowest one (-inf counts as the lowest float)
  double floor = 0;  ///< what the search takes them for: bulk minimum - 20, still a mask behind a softmax
  friend bool operator==(const Sentinels&, const Sentinels&) = default;
};
std::optional<Sentinels> find_sentinels(const TensorStatistics& statistics);

/// The encoding of one tensor, channel or block. Throws Error(usage) when the statistics lack what the scheme needs, or
/// when an option is out of its range. Statistics without finite values count as all zero.
Encoding find_encoding(const TensorStatistics& statistics, const QuantizerSpec& spec,
                       const SearchOptions& options = {});

/// One tensor's statistics and the grid to find for them.
struct SearchRequest {
  const TensorStatistics* statistics = nullptr;
  QuantizerSpec spec;
};
/// find_encoding() for every request, on several threads.
std::vector<Encoding> find_encodings(std::span<const SearchRequest> requests, const SearchOptions& options,
                                     int threads);

/// How many candidates --refine measures.
inline constexpr std::size_t refine_candidates = 12;

/// The best `count` distinct encodings of the search (`sqnr`, `mse`), best first, with the min-max one always among
/// them; any other scheme gives its single encoding. What --refine measures on the data.
std::vector<Encoding> find_candidates(const TensorStatistics& statistics, const QuantizerSpec& spec,
                                      const SearchOptions& options, std::size_t count);

/// AIMET's rule for a whole range [minimum, maximum]; zero is included, infinities become 0.99 * FLT_MAX.
Encoding min_max_encoding(double minimum, double maximum, const QuantizerSpec& spec);

/// The search on a parameter's own values: one encoding per tensor, channel or block, row-major over [channel, block].
/// Host tensor, plain layout, float32, float16 or bfloat16. Throws Error(model) naming the tensor when axes do not fit.
/// Called inside an OpenMP team, its threads share the work; the result does not depend on them.
TensorEncodings find_parameter_encodings(std::string_view name, const Tensor& weights, const QuantizerSpec& spec,
                                         const SearchOptions& options = {});

/// Statistics of values in memory: what an observer finds, for data that is already here.
TensorStatistics observe_values(std::span<const float> values, ObserverKind kind = ObserverKind::histogram);
/// Statistics of sites that share one range. Throws Error(usage) when one holds a tf_enhanced histogram.
TensorStatistics merge_tied(std::span<const TensorStatistics* const> tied);

/// AIMET's histogram takes one batch (all elements of one tensor); see statistics.hpp.
void update(TfEnhancedHistogram& histogram, std::span<const float> batch);
/// AIMET's search over its own histogram.
Encoding tf_enhanced_encoding(const TfEnhancedHistogram& histogram, const QuantizerSpec& spec);

/// AIMET's percentile on the same histogram: limits are edges of bins, and at 100 what lies in the last bin may be cut.
/// For comparisons; the scheme `percentile` knows the exact extremes and interpolates. Throws Error(usage) for a
/// percentile outside (50, 100].
Encoding aimet_percentile_encoding(const TfEnhancedHistogram& histogram, const QuantizerSpec& spec, double percentile);

/// The true error of candidate encodings on data: the second pass of --refine, for one tensor.
class RefineAccumulator {
 public:
  /// The best `count` encodings for statistics of the data that is measured. What the search takes sentinels for, they
  /// are measured as.
  RefineAccumulator(const TensorStatistics& statistics, const QuantizerSpec& spec, const SearchOptions& options,
                    std::size_t count = refine_candidates);
  /// `times`: as if they had been added so many times.
  void add(std::span<const float> values, double times = 1);
  /// Throws Error(data) for another type.
  void add(const Tensor& tensor, double times = 1);
  /// Ties go to the one that the search likes better.
  const Encoding& best() const;

 private:
  std::vector<Encoding> candidates_;
  std::optional<Sentinels> sentinels_;  ///< that are clamped
  std::int64_t steps_;
  double gamma_;
  std::vector<double> errors_;
};

/// What the statistics were taken from: runs may only be merged, resumed or searched when these agree.
struct Fingerprint {
  std::string tare_version;
  std::string model;             ///< hash of the model's bytes, external data included
  std::string data;              ///< hash of the data, in order; "hash#2/4": the second of four shards; sums: "a+b"
  std::string batch_grouping;    ///< "32 samples a batch"
  std::string weight_encodings;  ///< hash of the weights' encodings
  bool float_weights = false;    ///< observed with float weights: weight settings do not matter
  friend bool operator==(const Fingerprint&, const Fingerprint&) = default;
};

struct NamedStatistics {
  std::string tensor;
  TensorStatistics statistics;
  friend bool operator==(const NamedStatistics&, const NamedStatistics&) = default;
};

/// The contents of a .stats file.
struct StatisticsFile {
  Fingerprint fingerprint;
  std::uint64_t samples = 0;
  std::vector<NamedStatistics> tensors;  ///< in any order when saved, ascending by name when loaded
  std::vector<NamedStatistics> derived;  ///< what follows from them for other tensors: neither saved nor merged
  friend bool operator==(const StatisticsFile&, const StatisticsFile&) = default;
};

/// Bytes are a function of the contents alone. Written to a temporary file first, then renamed.
void save_statistics(const std::string& path, const StatisticsFile& file);
/// Throws Error(io) when it cannot be read, Error(model) when it is truncated, corrupt or of another format version.
StatisticsFile load_statistics(const std::string& path);
/// Adds the statistics of another shard, or of other data. All shards of some data give what one run over it gives, to
/// the byte. Throws Error(usage) when the fingerprints (all but the data) or tensors differ, and for data or a shard
/// that is there twice.
void merge(StatisticsFile& into, const StatisticsFile& other);
/// Throws Error(usage) that lists the shards that are missing. `path`: of the file, for the message; empty: none.
void require_all_shards(const Fingerprint& stored, std::string_view path = {});
/// Throws Error(usage) that names what changed when statistics taken from `stored` cannot serve a run of `current`.
void require_same_origin(const Fingerprint& stored, const Fingerprint& current, std::string_view path);

}  // namespace tare
