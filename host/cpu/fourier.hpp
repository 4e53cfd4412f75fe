// Discrete Fourier transforms of any length, in float64.
#pragma once

#include <complex>
#include <cstddef>
#include <span>
#include <vector>

namespace tare::cpu {

/// Transforms of one length: powers of two by halving, other lengths through Bluestein's convolution. Unscaled in both
/// directions. Not thread-safe: it holds its scratch memory.
class Fourier {
 public:
  using Complex = std::complex<double>;
  explicit Fourier(std::size_t length, bool inverse);
  /// In place; values.size() is the length.
  void run(std::span<Complex> values);

  // The tables, for other devices that take the same steps.
  std::size_t padded() const { return padded_; }
  std::span<const Complex> roots() const { return roots_; }
  std::span<const Complex> chirp() const { return chirp_; }
  std::span<const Complex> chirp_transform() const { return chirp_transform_; }

 private:
  void butterflies(std::span<Complex> values, bool conjugate) const;

  std::size_t length_;
  bool inverse_;
  std::size_t padded_;          ///< a power of two: the length itself, or room for the convolution
  std::vector<Complex> roots_;  ///< exp(-2 pi i k / padded), k below padded / 2
  std::vector<Complex> chirp_;  ///< exp(-pi i k^2 / length); empty for powers of two
  std::vector<Complex> chirp_transform_;
  std::vector<Complex> scratch_;
};

}  // namespace tare::cpu
