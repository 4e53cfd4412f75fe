// How a camera was held: the orientation that a JPEG file's EXIF block says.
#pragma once

#include <string_view>

#include "run/image.hpp"

namespace tare {

/// 1 … 8 as EXIF counts them; 1, upright, when the bytes say nothing or make no sense.
int exif_orientation(std::string_view jpeg);
/// The image as it is looked at.
Image upright(Image image, int orientation);

}  // namespace tare
