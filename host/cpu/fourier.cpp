// Bluestein: k j = (k^2 + j^2 - (k - j)^2) / 2 turns a transform of any length into a convolution, which transforms of
// a power of two do. Source: L. Bluestein, "A linear filtering approach to the computation of discrete Fourier
// transform", 1970.
#include "cpu/fourier.hpp"

#include <bit>
#include <cmath>
#include <numbers>
#include <utility>

namespace tare::cpu {
namespace {

Fourier::Complex unit(double turns) { return std::polar(1.0, -2 * std::numbers::pi * turns); }

/// Spelled out: std::complex multiplies through a library call that looks for infinities.
Fourier::Complex product(Fourier::Complex a, Fourier::Complex b) {
  return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}

}  // namespace

Fourier::Fourier(std::size_t length, bool inverse)
    : length_(length), inverse_(inverse), padded_(std::has_single_bit(length) ? length : std::bit_ceil(2 * length)) {
  for (std::size_t k = 0; k < padded_ / 2; ++k)
    roots_.push_back(unit(static_cast<double>(k) / static_cast<double>(padded_)));
  if (padded_ == length_) return;
  // k^2 modulo twice the length, stepped up so that nothing overflows: (k + 1)^2 = k^2 + 2 k + 1.
  std::size_t square = 0;
  for (std::size_t k = 0; k < length_; ++k) {
    chirp_.push_back(unit(static_cast<double>(square) / (2.0 * static_cast<double>(length_))));
    square = (square + 2 * k + 1) % (2 * length_);
  }
  chirp_transform_.assign(padded_, 0);
  chirp_transform_[0] = std::conj(chirp_[0]);
  for (std::size_t k = 1; k < length_; ++k) chirp_transform_[k] = chirp_transform_[padded_ - k] = std::conj(chirp_[k]);
  butterflies(chirp_transform_, false);
  scratch_.resize(padded_);
}

void Fourier::butterflies(std::span<Complex> values, bool conjugate) const {
  const std::size_t size = values.size();
  for (std::size_t i = 1, reversed = 0; i < size; ++i) {
    std::size_t bit = size >> 1;
    for (; (reversed & bit) != 0; bit >>= 1) reversed ^= bit;
    reversed |= bit;
    if (i < reversed) std::swap(values[i], values[reversed]);
  }
  for (std::size_t half = 1; half < size; half *= 2) {
    const std::size_t stride = size / (2 * half);
    for (std::size_t first = 0; first < size; first += 2 * half)
      for (std::size_t k = 0; k < half; ++k) {
        const Complex root = conjugate ? std::conj(roots_[k * stride]) : roots_[k * stride];
        const Complex even = values[first + k];
        const Complex odd = product(root, values[first + half + k]);
        values[first + k] = even + odd;
        values[first + half + k] = even - odd;
      }
  }
}

void Fourier::run(std::span<Complex> values) {
  if (padded_ == length_) return butterflies(values, inverse_);
  // The inverse of x is the conjugate of the transform of its conjugate.
  if (inverse_)
    for (Complex& value : values) value = std::conj(value);
  for (std::size_t k = 0; k < length_; ++k) scratch_[k] = product(values[k], chirp_[k]);
  std::fill(scratch_.begin() + static_cast<std::ptrdiff_t>(length_), scratch_.end(), Complex(0));
  butterflies(scratch_, false);
  for (std::size_t k = 0; k < padded_; ++k) scratch_[k] = product(scratch_[k], chirp_transform_[k]);
  butterflies(scratch_, true);
  for (std::size_t k = 0; k < length_; ++k) values[k] = product(scratch_[k], chirp_[k]) / static_cast<double>(padded_);
  if (inverse_)
    for (Complex& value : values) value = std::conj(value);
}

}  // namespace tare::cpu
