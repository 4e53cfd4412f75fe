// Noise of candidates on a histogram. The loop over blocks is compiled for several instruction sets: lanes are bins,
// and no operation is reassociated or contracted, so all of them give the same bits.
#include "calib/noise.hpp"

#include <algorithm>
#include <cmath>

#include "calib/clones.hpp"
#include "calib/tree_sum.hpp"

namespace tare::calib {
namespace {

/// out[b] = rounding noise of block b, in squared steps times the step. Every inner edge is computed twice: kept in an
/// array, their vectors would have to be read back one bin further, before they are written, which takes twice as long.
TARE_CLONES void rounding_noise(const double* edges, const double* density, std::size_t blocks, double inverse,
                                double* out) {
  for (std::size_t b = 0; b < blocks; ++b) {
    const double* edge = edges + b * (noise_block + 1);
    const double* weight = density + b * noise_block;
    double part[noise_block];
    for (std::uint32_t i = 0; i < noise_block; ++i)
      part[i] =
          weight[i] * (rounding_noise_integral(edge[i + 1] * inverse) - rounding_noise_integral(edge[i] * inverse));
    out[b] = tree_sum(part);
  }
}

TARE_CLONES double clipped_noise(const double* edge, const double* weight, double inverse, double limit, double gamma) {
  double part[noise_block];
  for (std::uint32_t i = 0; i < noise_block; ++i)
    part[i] = weight[i] * (clipped_noise_integral(edge[i + 1] * inverse, limit, gamma) -
                           clipped_noise_integral(edge[i] * inverse, limit, gamma));
  return tree_sum(part);
}

/// In squared steps.
TARE_CLONES double noise_of_points(const double* magnitudes, const double* counts, std::size_t blocks, double inverse,
                                   double limit, double gamma) {
  double sum = 0;
  for (std::size_t b = 0; b < blocks; ++b) {
    double part[noise_block];
    for (std::uint32_t i = 0; i < noise_block; ++i)
      part[i] = counts[b * noise_block + i] * point_noise(magnitudes[b * noise_block + i] * inverse, limit, gamma);
    sum += tree_sum(part);
  }
  return sum;
}

}  // namespace

/// The bins of one sign, outwards; the counts of the exact extremes leave their bins and become points.
std::vector<NoiseSide::Bin> NoiseSide::take_side(const TensorStatistics& statistics, bool negative) {
  std::vector<Bin> bins;
  for (const auto& [bin, count] : statistics.bins)
    if ((bin < histogram_side_count) == negative)
      bins.push_back({negative ? histogram_side_count - 1 - bin : bin - histogram_side_count, count});
  if (negative) std::reverse(bins.begin(), bins.end());

  const auto take = [&](float extreme, std::uint64_t count) {
    if (extreme == 0 || (extreme < 0) != negative) return;
    const std::uint32_t wanted = histogram_side_bin(bits_of(extreme) & 0x7fffffffu);
    for (Bin& bin : bins) {
      if (bin.bin != wanted) continue;
      const std::uint64_t taken = std::min(count, bin.count);
      bin.count -= taken;
      points_.push_back(
          {negative ? -static_cast<double>(extreme) : static_cast<double>(extreme), static_cast<double>(taken)});
    }
  };
  take(statistics.min, statistics.min_count);
  if (statistics.max != statistics.min) take(statistics.max, statistics.max_count);
  if (!statistics.points.empty()) take_points(statistics, negative, bins);
  return bins;
}

/// Values of known places, which are no extremes, leave their bins.
void NoiseSide::take_points(const TensorStatistics& statistics, bool negative, std::vector<Bin>& bins) {
  for (const auto& [value, count] : statistics.points) {
    if ((value < 0) != negative) continue;
    const std::uint32_t wanted = histogram_side_bin(bits_of(value) & 0x7fffffffu);
    const auto bin = std::lower_bound(bins.begin(), bins.end(), wanted,
                                      [](const Bin& b, std::uint32_t number) { return b.bin < number; });
    if (bin == bins.end() || bin->bin != wanted) continue;
    const std::uint64_t taken = std::min(count, bin->count);
    bin->count -= taken;
    known_.push_back(std::abs(static_cast<double>(value)));
    known_count_.push_back(static_cast<double>(taken));
  }
  const std::size_t padded = (known_.size() + noise_block - 1) / noise_block * noise_block;
  known_.resize(padded);
  known_count_.resize(padded);
}

NoiseSide::NoiseSide(const TensorStatistics& statistics, bool negative) {
  const std::vector<Bin> bins = take_side(statistics, negative);
  const double outer = negative ? -static_cast<double>(statistics.min) : static_cast<double>(statistics.max);
  const double inner = negative ? -static_cast<double>(statistics.max) : static_cast<double>(statistics.min);
  std::size_t touched = 0;
  std::uint32_t last = side_blocks;
  for (const Bin& bin : bins) {
    if (bin.bin / noise_block == last) continue;
    last = bin.bin / noise_block;
    ++touched;
  }
  edges_.resize(touched * (noise_block + 1));
  density_.assign(touched * noise_block, 0.0);
  beyond_.assign(touched + 1, {});
  second_.assign(touched + 1, 0.0);
  inside_.assign(touched + 1, 0.0);

  std::size_t block = 0;
  std::uint32_t next = 0;  // block numbers up to here know how many touched blocks lie below them
  for (std::size_t i = 0; i < bins.size();) {
    const std::uint32_t number = bins[i].bin / noise_block;
    while (next <= number) below_[next++] = static_cast<std::uint8_t>(block);
    double* edge = edges_.data() + block * (noise_block + 1);
    for (std::uint32_t j = 0; j <= noise_block; ++j)
      edge[j] = histogram_side_edge(std::min(number * noise_block + j, histogram_side_count));
    Moments moments;
    for (; i < bins.size() && bins[i].bin / noise_block == number; ++i) {
      const std::uint32_t j = bins[i].bin % noise_block;
      if (i == 0) edge[j] = std::max(edge[j], inner);
      if (i + 1 == bins.size()) edge[j + 1] = std::min(edge[j + 1], outer);
      const double lower = edge[j];
      const double upper = edge[j + 1];
      const double count = static_cast<double>(bins[i].count);
      if (bins[i].count == 0) continue;
      if (!(upper > lower)) {
        points_.push_back({upper, count});
        continue;
      }
      density_[block * noise_block + j] = count / (upper - lower);
      moments.m0 += count;
      moments.m1 += count * (lower + upper) * 0.5;
      moments.m2 += count * (lower * lower + lower * upper + upper * upper) * (1.0 / 3);
    }
    beyond_[block] = moments;
    second_[block + 1] = second_[block] + moments.m2;
    ++block;
  }
  while (next <= side_blocks) below_[next++] = static_cast<std::uint8_t>(block);
  for (std::size_t b = touched; b-- > 0;) {
    beyond_[b].m0 += beyond_[b + 1].m0;
    beyond_[b].m1 += beyond_[b + 1].m1;
    beyond_[b].m2 += beyond_[b + 1].m2;
  }
}

std::size_t NoiseSide::blocks_below(double magnitude) const { return below_[block_of(magnitude)]; }

void NoiseSide::set_scale(double scale, double limit) {
  scale_ = scale;
  inverse_ = 1.0 / scale;
  // Blocks within half a step round to zero: their noise is their second moment.
  const std::size_t begin = std::min(blocks_below(0.5 * scale), blocks());
  const std::size_t end = std::max(begin, std::min(blocks_below(scale * limit), blocks()));
  for (std::size_t b = 0; b <= begin; ++b) inside_[b] = second_[b];
  if (end == begin) return;
  rounding_noise(edges_.data() + begin * (noise_block + 1), density_.data() + begin * noise_block, end - begin,
                 inverse_, inside_.data() + begin + 1);
  const double cube = scale * scale * scale;
  for (std::size_t b = begin; b < end; ++b) inside_[b + 1] = inside_[b] + cube * inside_[b + 1];
}

double NoiseSide::limit_noise(double limit, double gamma) const {
  const double edge = scale_ * limit;
  const std::size_t block = std::min(blocks_below(edge), blocks());
  double noise = inside_[block];
  if (block < blocks()) {
    noise += scale_ * scale_ * scale_ *
             clipped_noise(edges_.data() + block * (noise_block + 1), density_.data() + block * noise_block, inverse_,
                           limit, gamma);
    const Moments& tail = beyond_[block + 1];
    noise += gamma * (tail.m2 - 2 * edge * tail.m1 + edge * edge * tail.m0);
  }
  for (const Point& point : points_)
    noise += scale_ * scale_ * (point.count * point_noise(point.magnitude * inverse_, limit, gamma));
  if (!known_.empty())
    noise += scale_ * scale_ *
             noise_of_points(known_.data(), known_count_.data(), known_.size() / noise_block, inverse_, limit, gamma);
  return noise;
}

double NoiseSide::saturation_bound(double edge, double gamma) const {
  const std::size_t block = std::min(blocks_below(edge), blocks());
  const Moments& tail = beyond_[std::min(block + 1, blocks())];
  double noise = tail.m2 - 2 * edge * tail.m1 + edge * edge * tail.m0;
  for (const Point& point : points_) {
    const double beyond = std::max(0.0, point.magnitude - edge);
    noise += point.count * beyond * beyond;
  }
  return gamma * noise;
}

}  // namespace tare::calib
