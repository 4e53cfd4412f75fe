// Which algorithm computes a convolution of a shape: remembered for all devices of a run and, in a file, for the runs
// after it. See tare/cuda.hpp.
#pragma once

#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "products.hpp"
#include "tare/cuda.hpp"

namespace tare::cuda {

/// Memory that an algorithm may ask for.
inline constexpr std::size_t most_workspace = std::size_t{1} << 30;

/// Beside the numbers of cuDNN: a pointwise convolution as a product of matrices, by cuBLASLt.
inline constexpr int as_product = 8;

struct ChosenAlgorithm {
  int number = 0;
  int math = 0;  ///< the library's number of the arithmetic
  std::size_t workspace = 0;
  bool operator==(const ChosenAlgorithm&) const = default;
};

/// Whether an algorithm may be chosen: it always gives the same bits, and it rounds about as little as sums of the
/// products do. Of those that multiply sums that is Winograd's for two by two results of three by three weights: its
/// sums have up to four terms, and no factors but halves. `faithful`: float32 that is not rounded before it is
/// multiplied; for anything else sums of inputs would be rounded. Those for larger tiles and Fourier's round more.
bool may_be_chosen(int number, bool faithful, bool transposed);

/// What choices hold for: numbers of algorithms are a library's, their order in time a device's.
struct ConvolutionPlatform {
  std::string cudnn;                ///< its version
  std::string device;               ///< its name
  std::vector<std::int64_t> model;  ///< compute capability, major and minor, and multiprocessors
  bool operator==(const ConvolutionPlatform&) const = default;
};
/// Here, for device N.
ConvolutionPlatform platform_of(int device);

class ConvolutionChoices {
 public:
  using Model = std::vector<std::int64_t>;  ///< as in ConvolutionPlatform
  /// What a search comes to.
  struct Found {
    ChosenAlgorithm algorithm;
    bool lasting = true;  ///< if not, it is this process's alone: memory was too short to look at all of them
  };

  /// What is known of the convolution, or what `search` finds now. Others wait meanwhile: they may ask for the same.
  template <class Search>
  ChosenAlgorithm find(const Convolution& convolution, Math math, const Model& model, Search&& search) {
    const std::lock_guard lock(mutex_);
    std::map<Key, Choice>& chosen = chosen_[model];
    const Key key = key_of(convolution, math);
    if (const auto known = chosen.find(key); known != chosen.end()) return known->second.found.algorithm;
    const Found found{search()};
    chosen.emplace(key, Choice{convolution, math, found});
    unsaved_ = unsaved_ || found.lasting;
    return found.algorithm;
  }

  /// Instead of a choice that cannot be had here.
  void replace(const Convolution& convolution, Math math, const Model& model, const ChosenAlgorithm& by) {
    const std::lock_guard lock(mutex_);
    chosen_[model].insert_or_assign(key_of(convolution, math), Choice{convolution, math, {by}});
    unsaved_ = true;
  }

  /// Adds the choices of a file, all or none; what is known already stays as it is.
  void load(const std::filesystem::path& path, const ConvolutionPlatform& platform);
  /// The lasting choices of the platform's model, in an order that depends on nothing else.
  void save(const std::filesystem::path& path, const ConvolutionPlatform& platform);
  /// Whether a search has found something that no save() has written.
  bool unsaved() const;

 private:
  using Key = std::vector<std::int64_t>;
  struct Choice {
    Convolution convolution;
    Math math;
    Found found;
  };
  static Key key_of(const Convolution& convolution, Math math);

  mutable std::mutex mutex_;
  std::map<Model, std::map<Key, Choice>> chosen_;
  bool unsaved_ = false;
};

}  // namespace tare::cuda
