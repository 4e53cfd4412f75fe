#include "cli/bandwidth.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

namespace tare::cli {
namespace {

constexpr std::size_t lanes = 16;  ///< 64-bit words a step: enough sums side by side that none waits for another

std::uint64_t sum_of(const std::uint64_t* words, std::size_t count) {
  std::array<std::uint64_t, lanes> sums{};
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes)
    for (std::size_t k = 0; k < lanes; ++k) sums[k] += words[i + k];
  for (; i < count; ++i) sums[0] += words[i];
  std::uint64_t sum = 0;
  for (const std::uint64_t lane : sums) sum += lane;
  return sum;
}

/// GB/s of a body that moves `bytes`: repeated for at least 20 ms, at most 9 times when that alone takes longer.
template <class Body>
double fastest(double bytes, Body&& body) {
  using Clock = std::chrono::steady_clock;
  double best = 0;
  const auto start = Clock::now();
  for (int i = 0; i < 9 || (i < 1000 && Clock::now() - start < std::chrono::milliseconds(20)); ++i) {
    const auto begin = Clock::now();
    body();
    best = std::max(best, bytes / std::chrono::duration<double>(Clock::now() - begin).count());
  }
  return best / 1e9;
}

}  // namespace

Bandwidth::Bandwidth(std::size_t bytes, int threads)
    : from_(std::max<std::size_t>(bytes / sizeof(std::uint64_t), 1), 1), to_(from_.size()), threads_(threads) {}

double Bandwidth::read() const {
  std::uint64_t sum = 0;
  const auto parts = static_cast<std::size_t>(threads_);
  const double speed = fastest(static_cast<double>(from_.size() * sizeof(std::uint64_t)), [&] {
#pragma omp parallel for num_threads(threads_) schedule(static, 1) reduction(+ : sum)
    for (std::size_t part = 0; part < parts; ++part) {
      const std::size_t begin = from_.size() * part / parts;
      sum += sum_of(from_.data() + begin, from_.size() * (part + 1) / parts - begin);
    }
  });
  return sum == 0 ? 0 : speed;  // all words are one; asked so that the sums are made
}

double Bandwidth::copy() {
  const auto parts = static_cast<std::size_t>(threads_);
  return fastest(2 * static_cast<double>(from_.size() * sizeof(std::uint64_t)), [&] {
#pragma omp parallel for num_threads(threads_) schedule(static, 1)
    for (std::size_t part = 0; part < parts; ++part) {
      const std::size_t begin = from_.size() * part / parts;
      std::memcpy(to_.data() + begin, from_.data() + begin,
                  (from_.size() * (part + 1) / parts - begin) * sizeof(std::uint64_t));
    }
  });
}

}  // namespace tare::cli
