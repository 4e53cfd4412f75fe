// Images as arrays of bytes: decoding (by stb_image) and resizing with an antialiasing triangle filter, which is what
// Pillow and torchvision call bilinear. Kept apart from the records so that tools use the same resize.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "tare/dataset.hpp"

namespace tare {

/// Interleaved channels, row by row, values 0 … 255.
struct Image {
  std::int64_t width = 0, height = 0, channels = 0;
  std::vector<float> values;
};

/// Decodes .jpg, .png or .bmp to 1 (grey) or 3 (RGB) channels, upright as a JPEG's EXIF block says. Throws Error(data).
Image load_image(const std::filesystem::path& path, std::int64_t channels);
/// Throws Error(data) unless the file starts like an image that load_image can decode.
void check_image(const std::filesystem::path& path);
Image resize(const Image& image, std::int64_t width, std::int64_t height);
/// The centre; the image must be at least that large. Halves of a pixel go to the even side, as in torchvision.
Image crop_centre(const Image& image, std::int64_t width, std::int64_t height);

}  // namespace tare
