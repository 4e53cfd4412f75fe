// Images become tensors as the options say, and what cannot is refused when the dataset is opened.
#include <gmock/gmock.h>

#include <cmath>

#include "run/image.hpp"
#include "run/orientation.hpp"
#include "support.hpp"
#include "support/bitmap.hpp"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

namespace tare::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Images : public DataReaders {
 protected:
  Images() {
    write("two.bmp", bitmap(2, 1, [](int x, int) { return x == 0 ? Pixel{255, 0, 51} : Pixel{0, 102, 255}; }));
  }
  Tensor only_tensor(const Shape& shape, const ImageOptions& options, DataType type = DataType::float32) const {
    const Graph graph = graph_with({{"image", type, shape}});
    return open_dataset(folder_, graph, {.samples = 10, .batch_size = 0, .image = options})->next()->inputs[0];
  }
};

TEST_F(Images, LayoutAndChannelOrder) {
  const Tensor planes = only_tensor({1, 3, 1, 2}, {});
  EXPECT_EQ(planes.shape(), (Shape{1, 3, 1, 2}));
  EXPECT_THAT(values_of<float>(planes), ElementsAre(1, 0, 0, 0.4f, 0.2f, 1));
  EXPECT_THAT(values_of<float>(only_tensor({1, 1, 2, 3}, {.layout = ImageLayout::nhwc})),
              ElementsAre(1, 0, 0.2f, 0, 0.4f, 1));
  EXPECT_THAT(values_of<float>(only_tensor({-1, 3, 1, 2}, {.channel_order = ChannelOrder::bgr})),
              ElementsAre(0.2f, 1, 0, 0.4f, 1, 0));
}

TEST_F(Images, Normalisation) {
  const Tensor tensor = only_tensor({1, 3, 1, 2}, {.mean = {0.5f, 0, 0}, .std = {0.5f, 1, 0.2f}});
  const auto values = values_of<float>(tensor);
  EXPECT_FLOAT_EQ(values[0], 1);
  EXPECT_FLOAT_EQ(values[1], -1);
  EXPECT_FLOAT_EQ(values[3], 0.4f);
  EXPECT_FLOAT_EQ(values[4], 1);
  EXPECT_THAT(values_of<std::uint8_t>(only_tensor({1, 3, 1, 2}, {}, DataType::uint8)),
              ElementsAre(255, 0, 0, 102, 51, 255));
}

TEST_F(Images, ResizeKeepsConstantsAndMeansAndIsAntialiased) {
  Image image{8, 6, 1, {}};
  for (int i = 0; i < 48; ++i) image.values.push_back(static_cast<float>(i % 2) * 200);
  const Image half = resize(image, 4, 3);
  // Away from the edges a stripe pattern finer than the new pixels is its mean.
  for (const std::size_t i : {1u, 2u, 5u, 6u}) EXPECT_NEAR(half.values[i], 100, 26);
  const Image flat = resize(Image{5, 7, 3, std::vector<float>(105, 42.0f)}, 9, 3);
  for (const float value : flat.values) EXPECT_NEAR(value, 42, 1e-4);
  const Image same = resize(image, 8, 6);
  EXPECT_EQ(same.values, image.values);
  const Image up = resize(Image{2, 1, 1, {0, 100}}, 4, 1);
  EXPECT_THAT(up.values, ElementsAre(0, 25, 75, 100));
}

TEST_F(Images, TheShorterSideIsScaledAndTheCentreCropped) {
  write("two.bmp", bitmap(30, 10, [](int x, int) {
          return x >= 10 && x < 20 ? Pixel{255, 255, 255} : Pixel{0, 0, 0};
        }));
  const Tensor tensor = only_tensor({1, 3, 10, 10}, {.resize_shorter = 10});
  for (const float value : tensor.span<float>()) EXPECT_EQ(value, 1.0f);
}

/// The longer side is cut off to whole pixels, and halves of a pixel go to the even side.
TEST_F(Images, ResizingAndCroppingRoundAsTorchvisionDoes) {
  for (const auto& [width, left] : {std::pair{5, 0}, {6, 1}, {7, 2}, {9, 2}, {11, 4}}) {
    Image image{width, 1, 1, {}};
    for (int x = 0; x < width; ++x) image.values.push_back(static_cast<float>(x));
    EXPECT_EQ(crop_centre(image, 4, 1).values[0], static_cast<float>(left)) << width;
  }
  write("two.bmp", bitmap(5, 3, [](int x, int y) { return Pixel{40 * x, 70 * y, 10 * x * y}; }));
  const Image expected = crop_centre(resize(load_image(file("two.bmp"), 3), 6, 4), 4, 4);  // 4 * 5 / 3 = 6.67
  const Tensor tensor = only_tensor({1, 4, 4, 3}, {.resize_shorter = 4});
  for (std::size_t i = 0; i < expected.values.size(); ++i)
    EXPECT_FLOAT_EQ(tensor.span<float>()[i], expected.values[i] / 255.0f);
}

std::string big(std::int64_t value, int width) {
  const std::string bytes = little(value, width);
  return {bytes.rbegin(), bytes.rend()};
}

/// A JPEG of 32 x 16 pixels, bright in the upper left quarter, that was taken in this orientation.
std::string photo(int orientation, bool little_endian) {
  std::vector<std::uint8_t> pixels(32 * 16, 20);
  for (std::size_t y = 0; y < 8; ++y)
    for (std::size_t x = 0; x < 16; ++x) pixels[y * 32 + x] = 230;
  std::string jpeg;
  ::stbi_write_jpg_to_func(
      [](void* context, void* data, int size) {
        static_cast<std::string*>(context)->append(static_cast<const char*>(data), static_cast<std::size_t>(size));
      },
      &jpeg, 32, 16, 1, pixels.data(), 95);
  const auto number = [&](std::int64_t value, int width) {
    return little_endian ? little(value, width) : big(value, width);
  };
  const std::string tiff = (little_endian ? "II" : "MM") + number(42, 2) + number(8, 4) + number(2, 2) +
                           number(0x10f, 2) + number(2, 2) + number(1, 4) + number(0, 4) +  // another tag
                           number(0x112, 2) + number(3, 2) + number(1, 4) + number(orientation, 2) + number(0, 2) +
                           number(0, 4);
  const std::string exif = std::string("Exif\0\0", 6) + tiff;
  return jpeg.substr(0, 2) + "\xff\xe1" + big(static_cast<std::int64_t>(exif.size()) + 2, 2) + exif + jpeg.substr(2);
}

/// Where the upper left corner of the stored image goes, as EXIF defines it: the 0th row is at the visual top (1), and
/// so on.
TEST_F(Images, PhotosAreTurnedUpright) {
  struct Corner {
    int orientation;
    bool turned, right, bottom;
  };
  for (const Corner& c : {Corner{1, false, false, false}, Corner{2, false, true, false}, Corner{3, false, true, true},
                          Corner{4, false, false, true}, Corner{5, true, false, false}, Corner{6, true, true, false},
                          Corner{7, true, true, true}, Corner{8, true, false, true}, Corner{9, false, false, false}})
    for (const bool little_endian : {false, true}) {
      SCOPED_TRACE(c.orientation);
      write("photo.jpg", photo(c.orientation, little_endian));
      const Image image = load_image(file("photo.jpg"), 1);
      EXPECT_EQ(image.width, c.turned ? 16 : 32);
      EXPECT_EQ(image.height, c.turned ? 32 : 16);
      for (const bool right : {false, true})
        for (const bool bottom : {false, true}) {
          const std::int64_t x = right ? image.width - 3 : 2;
          const std::int64_t y = bottom ? image.height - 3 : 2;
          EXPECT_NEAR(image.values[static_cast<std::size_t>(y * image.width + x)],
                      right == c.right && bottom == c.bottom ? 230 : 20, 5);
        }
    }
}

TEST_F(Images, BrokenExifIsNone) {
  const std::string whole = photo(6, true);
  ASSERT_EQ(exif_orientation(whole), 6);
  for (std::size_t size = 0; size < 80; ++size) {
    const int found = exif_orientation(std::string_view(whole).substr(0, size));
    EXPECT_TRUE(found == 1 || found == 6) << size;
    for (int byte : {0, 0x7f, 0xff}) {
      std::string changed = whole;
      changed[size] = static_cast<char>(byte);
      const int other = exif_orientation(changed);
      EXPECT_TRUE(other >= 1 && other <= 8);
    }
  }
  EXPECT_EQ(exif_orientation(""), 1);
}

TEST_F(Images, FoldersAreReadInOrderWithTheirSubfolders) {
  for (int i = 0; i < 11; ++i)
    write("class/" + std::string(1, static_cast<char>('a' + i)) + ".BMP", bitmap(1, 1, [&](int, int) {
            return Pixel{i, i, i};
          }));
  const Graph graph = graph_with({{"image", DataType::uint8, Shape{-1, 3, 1, 1}}});
  const auto dataset = open_dataset(file("class"), graph);
  EXPECT_EQ(dataset->samples(), 11u);
  const auto first = dataset->next();
  EXPECT_EQ(first->inputs[0].shape(), (Shape{8, 3, 1, 1}));
  EXPECT_EQ(first->inputs[0].data<std::uint8_t>()[21], 7);
  EXPECT_EQ(open_dataset(file("class"), graph, {.samples = 5, .batch_size = 2, .image = {}})->batches(), 3u);
}

TEST_F(Images, WhatDoesNotFitIsRefused) {
  const auto refusal = [&](const Shape& shape, const ImageOptions& options = {}, DataType type = DataType::float32) {
    return error_of(ErrorKind::data, [&] { only_tensor(shape, options, type); });
  };
  EXPECT_THAT(refusal({1, 3, -1, -1}), HasSubstr("--size"));
  EXPECT_THAT(refusal({1, 3, 4}), HasSubstr("rank 4"));
  EXPECT_THAT(refusal({1, 4, 8, 8}), HasSubstr("4 channels"));
  EXPECT_THAT(refusal({1, 3, 8, 8}, {.width = 4}), HasSubstr("4x8"));
  EXPECT_THAT(refusal({1, 3, 8, 8}, {}, DataType::int64), HasSubstr("int64"));
  EXPECT_THAT(refusal({1, 3, 8, 8}, {.mean = {0.5f}}, DataType::uint8), HasSubstr("pixels as they are"));
  EXPECT_THAT(error_of(ErrorKind::usage, [&] { only_tensor({1, 3, 8, 8}, {.std = {0.0f}}); }), HasSubstr("--std must"));
  EXPECT_THAT(error_of(ErrorKind::usage,
                       [&] {
                         only_tensor({1, 3, 8, 8}, {.mean = {1, 2}});
                       }),
              HasSubstr("--mean has 2 values; images of this model have 3 channels"));
  EXPECT_THAT(error_of(ErrorKind::usage,
                       [&] {
                         only_tensor({1, 3, 8, 10}, {.resize_shorter = 9});
                       }),
              HasSubstr("--resize-shorter 9 leaves images smaller than the 10x8 (width x height)"));
  write("bad.png", "not an image");
  EXPECT_THAT(refusal({1, 3, 8, 8}), HasSubstr("bad.png"));
}

}  // namespace
}  // namespace tare::test
