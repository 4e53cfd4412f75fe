// What tests may ask of the stand-ins of cuBLASLt and cuDNN, and have them do. Algorithms and arithmetics are the
// libraries' numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace tare::test {

struct CublasStandIn {
  std::vector<std::int32_t> batches;  ///< of the products
  std::uint32_t schemes = 0;          ///< of splitting a sum, that the last choice allowed
  std::size_t described = 0;          ///< operations and matrices
  std::size_t needs = 0;              ///< bytes of the workspace of a product
  std::size_t added = 0;              ///< products with a bias
  bool has_none = false, has_none_for_halves = false;
  bool adds_none = false;  ///< no product with a bias
};
CublasStandIn& cublas_stand_in();

struct CudnnStandIn {
  struct Algorithm {
    int number = 0;
    int math = 0;
    std::size_t memory = 0;
    bool deterministic = true;
    bool operator==(const Algorithm&) const = default;
  };
  /// A convolution that ran.
  struct Run {
    int number = 0;
    int math = 0;
    std::vector<int> x, y;
    const void* from = nullptr;
    void* to = nullptr;
  };

  std::vector<Algorithm> ranking;  ///< in its place; empty: one that begins with Winograd's
  std::vector<std::vector<Algorithm>>
      searches;  ///< what the timed searches find, one after the other; then the ranking
  bool search_fails = false;
  bool search_lacks_memory = false;
  bool has_none_for_halves = false;
  std::map<std::pair<int, int>, std::size_t> needs;  ///< bytes that an algorithm needs under an arithmetic; else none
  std::set<std::pair<int, int>> apart;               ///< an algorithm and an arithmetic that do not go together
  std::set<int> broken;                              ///< algorithms that fail when they are run
  std::set<int> starving;                            ///< algorithms that find no memory when they are run
  bool computes = true;

  std::size_t timed = 0;  ///< searches
  std::vector<Run> runs;
};
CudnnStandIn& cudnn_stand_in();

}  // namespace tare::test
