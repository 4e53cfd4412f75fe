// What memory gives: the yardstick of kernels that do little else but read and write it. Measured where and when they
// run, because it differs from machine to machine and, on a shared one, from minute to minute.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tare::cli {

/// Arrays of one size, read and copied by a number of threads. Figures are GB/s (1e9 bytes), the fastest of several
/// goes.
class Bandwidth {
 public:
  Bandwidth(std::size_t bytes, int threads);
  double read() const;
  double copy();  ///< bytes read and bytes written both count

 private:
  std::vector<std::uint64_t> from_;
  std::vector<std::uint64_t> to_;
  int threads_;
};

}  // namespace tare::cli
