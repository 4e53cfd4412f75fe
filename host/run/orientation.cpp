#include "run/orientation.hpp"

#include <cstdint>

namespace tare {
namespace {

/// Numbers of a block of bytes in either order; 0 beyond its end.
class Numbers {
 public:
  Numbers(std::string_view bytes, bool little) : bytes_(bytes), little_(little) {}
  std::uint32_t read(std::size_t at, std::size_t width) const {
    if (at > bytes_.size() || bytes_.size() - at < width) return 0;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < width; ++i)
      value = value << 8 | static_cast<unsigned char>(bytes_[at + (little_ ? width - 1 - i : i)]);
    return value;
  }

 private:
  std::string_view bytes_;
  bool little_;
};

int orientation_of_tiff(std::string_view tiff) {
  constexpr std::uint32_t orientation_tag = 0x112;
  constexpr std::uint32_t short_type = 3;
  const bool little = tiff.starts_with("II");
  if (!little && !tiff.starts_with("MM")) return 1;
  const Numbers numbers(tiff, little);
  const std::size_t directory = numbers.read(4, 4);
  const std::size_t entries = numbers.read(directory, 2);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + 12 * i;
    if (numbers.read(entry, 2) != orientation_tag || numbers.read(entry + 2, 2) != short_type) continue;
    const std::uint32_t value = numbers.read(entry + 8, 2);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

}  // namespace

int exif_orientation(std::string_view jpeg) {
  constexpr std::string_view exif("Exif\0\0", 6);
  constexpr std::uint32_t start_of_scan = 0xffda;
  constexpr std::uint32_t application_1 = 0xffe1;
  if (!jpeg.starts_with("\xff\xd8")) return 1;
  const Numbers numbers(jpeg, false);
  for (std::size_t at = 2; at + 4 <= jpeg.size();) {
    const std::uint32_t marker = numbers.read(at, 2);
    const std::size_t size = numbers.read(at + 2, 2);  // with itself, without the marker
    if (marker < 0xff00 || marker == start_of_scan || size < 2) return 1;
    const std::string_view segment = jpeg.substr(at + 4, size - 2);
    if (marker == application_1 && segment.starts_with(exif)) return orientation_of_tiff(segment.substr(exif.size()));
    at += 2 + size;
  }
  return 1;
}

Image upright(Image image, int orientation) {
  if (orientation == 1) return image;
  const bool turned = orientation >= 5;
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_below = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image result{turned ? image.height : image.width, turned ? image.width : image.height, image.channels, {}};
  result.values.reserve(image.values.size());
  for (std::int64_t y = 0; y < result.height; ++y)
    for (std::int64_t x = 0; x < result.width; ++x) {
      const std::int64_t column = turned ? y : x;
      const std::int64_t row = turned ? x : y;
      const auto pixel = image.values.begin() + ((from_below ? image.height - 1 - row : row) * image.width +
                                                 (from_right ? image.width - 1 - column : column)) *
                                                    image.channels;
      result.values.insert(result.values.end(), pixel, pixel + image.channels);
    }
  return result;
}

}  // namespace tare
