// What is remembered of convolutions by their shape, for all devices of a run. See tare/cuda.hpp.
#pragma once

#include <map>
#include <mutex>
#include <vector>

#include "tare/cuda.hpp"

namespace tare::cuda {

struct ChosenAlgorithm {
  int number = 0;
  int math = 0;  ///< the library's number of the arithmetic
  std::size_t workspace = 0;
};

class ConvolutionChoices {
 public:
  /// What is known of the key, or what `search` finds now. Others wait meanwhile: they may ask for the same.
  template <class Search>
  ChosenAlgorithm find(const std::vector<std::int64_t>& key, Search&& search) {
    const std::lock_guard lock(mutex_);
    const auto known = chosen_.find(key);
    return known != chosen_.end() ? known->second : chosen_.emplace(key, search()).first->second;
  }

 private:
  std::mutex mutex_;
  std::map<std::vector<std::int64_t>, ChosenAlgorithm> chosen_;
};

}  // namespace tare::cuda
