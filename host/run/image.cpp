// Decoding, resizing and cropping. See image.hpp.
#include "run/image.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "run/bytes.hpp"
#include "run/orientation.hpp"
#include "tare/error.hpp"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wshadow"
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS 32768
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

namespace tare {
namespace {

constexpr std::uint64_t largest_file = std::uint64_t{512} << 20;
constexpr std::int64_t largest_image = std::int64_t{1} << 28;  // pixels

std::string read_image_file(const std::filesystem::path& path, int& width, int& height) {
  std::string bytes = read_text(path, largest_file);
  int channels = 0;
  if (::stbi_info_from_memory(reinterpret_cast<const stbi_uc*>(bytes.data()), static_cast<int>(bytes.size()), &width,
                              &height, &channels) == 0)
    throw Error(ErrorKind::data, fmt::format("file '{}': is not a .jpg, .png or .bmp image that can be decoded ({})",
                                             path.string(), ::stbi_failure_reason()));
  if (width < 1 || height < 1)
    throw Error(ErrorKind::data, fmt::format("file '{}': {} x {} has no pixels", path.string(), width, height));
  if (std::int64_t{width} * height > largest_image)
    throw Error(ErrorKind::data, fmt::format("file '{}': {} x {} pixels are too many", path.string(), width, height));
  return bytes;
}

/// For every output position the first input position and the weights of those from there on.
struct Taps {
  std::vector<std::int64_t> first;
  std::vector<std::vector<float>> weights;
};

Taps triangle_taps(std::int64_t from, std::int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double support = std::max(1.0, scale);
  Taps taps;
  for (std::int64_t i = 0; i < to; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<std::int64_t>(0, static_cast<std::int64_t>(std::floor(centre - support + 0.5)));
    const auto last = std::min(from, static_cast<std::int64_t>(std::floor(centre + support + 0.5)));
    std::vector<double> weights;
    double sum = 0.0;
    for (std::int64_t j = first; j < last; ++j) {
      weights.push_back(std::max(0.0, 1.0 - std::abs(static_cast<double>(j) + 0.5 - centre) / support));
      sum += weights.back();
    }
    std::vector<float> scaled;
    scaled.reserve(weights.size());
    for (const double weight : weights) scaled.push_back(static_cast<float>(weight / sum));
    taps.first.push_back(first);
    taps.weights.push_back(std::move(scaled));
  }
  return taps;
}

}  // namespace

Image load_image(const std::filesystem::path& path, std::int64_t channels) {
  int width = 0, height = 0, found = 0;
  const std::string bytes = read_image_file(path, width, height);
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(
      ::stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(bytes.data()), static_cast<int>(bytes.size()), &width,
                              &height, &found, static_cast<int>(channels)),
      ::stbi_image_free);
  if (!pixels)
    throw Error(ErrorKind::data,
                fmt::format("file '{}': cannot be decoded ({})", path.string(), ::stbi_failure_reason()));
  Image image{width, height, channels, {}};
  image.values.assign(pixels.get(), pixels.get() + image.width * image.height * channels);
  return upright(std::move(image), exif_orientation(bytes));
}

void check_image(const std::filesystem::path& path) {
  int width = 0, height = 0;
  read_image_file(path, width, height);
}

Image resize(const Image& image, std::int64_t width, std::int64_t height) {
  if (image.width == width && image.height == height) return image;
  const Taps across = triangle_taps(image.width, width), down = triangle_taps(image.height, height);
  const std::int64_t channels = image.channels;
  std::vector<float> rows(static_cast<std::size_t>(width * image.height * channels), 0.0f);
  for (std::int64_t y = 0; y < image.height; ++y)
    for (std::int64_t x = 0; x < width; ++x) {
      const std::vector<float>& weights = across.weights[static_cast<std::size_t>(x)];
      const float* from = &image.values[static_cast<std::size_t>(
          (y * image.width + across.first[static_cast<std::size_t>(x)]) * channels)];
      float* to = &rows[static_cast<std::size_t>((y * width + x) * channels)];
      for (std::size_t t = 0; t < weights.size(); ++t)
        for (std::int64_t c = 0; c < channels; ++c)
          to[c] += weights[t] * from[static_cast<std::int64_t>(t) * channels + c];
    }
  Image result{width, height, channels, std::vector<float>(static_cast<std::size_t>(width * height * channels), 0.0f)};
  const std::int64_t row = width * channels;
  for (std::int64_t y = 0; y < height; ++y) {
    const std::vector<float>& weights = down.weights[static_cast<std::size_t>(y)];
    float* to = &result.values[static_cast<std::size_t>(y * row)];
    for (std::size_t t = 0; t < weights.size(); ++t) {
      const float* from = &rows[static_cast<std::size_t>(
          (down.first[static_cast<std::size_t>(y)] + static_cast<std::int64_t>(t)) * row)];
      for (std::int64_t x = 0; x < row; ++x) to[x] += weights[t] * from[x];
    }
  }
  return result;
}

Image crop_centre(const Image& image, std::int64_t width, std::int64_t height) {
  const auto half = [](std::int64_t rest) { return rest / 2 + (rest % 4 == 3 ? 1 : 0); };
  const std::int64_t left = half(image.width - width), top = half(image.height - height);
  Image result{width, height, image.channels, {}};
  for (std::int64_t y = top; y < top + height; ++y) {
    const auto from = image.values.begin() + (y * image.width + left) * image.channels;
    result.values.insert(result.values.end(), from, from + width * image.channels);
  }
  return result;
}

}  // namespace tare
