// Images become tensors as the options say, and what cannot is refused when the dataset is opened.
#include <gmock/gmock.h>

#include <array>
#include <cmath>
#include <functional>

#include "run/image.hpp"
#include "support.hpp"

namespace tare::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Pixel = std::array<int, 3>;  // red, green, blue

std::string little(std::int64_t value, int width) {
  std::string bytes;
  for (int i = 0; i < width; ++i) bytes += static_cast<char>(i < 8 ? (value >> (8 * i)) & 0xff : 0);
  return bytes;
}

/// An uncompressed 24-bit bitmap; rows lie bottom first, channels blue first.
std::string bitmap(int width, int height, const std::function<Pixel(int x, int y)>& pixel) {
  std::string rows;
  for (int y = height; y-- > 0;) {
    for (int x = 0; x < width; ++x)
      for (const std::size_t c : {2u, 1u, 0u}) rows += static_cast<char>(pixel(x, y)[c]);
    while (rows.size() % 4 != 0) rows += '\0';
  }
  return "BM" + little(54 + static_cast<std::int64_t>(rows.size()), 4) + little(0, 4) + little(54, 4) + little(40, 4) +
         little(width, 4) + little(height, 4) + little(1, 2) + little(24, 2) + little(0, 24) + rows;
}

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
  const Tensor tensor = only_tensor({1, 3, 1, 2}, {.mean = {127.5f, 0, 0}, .std = {127.5f, 255, 51}, .scale = 255});
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
  error_of(ErrorKind::usage, [&] { only_tensor({1, 3, 8, 8}, {.std = {0.0f}}); });
  error_of(ErrorKind::usage, [&] { only_tensor({1, 3, 8, 8}, {.mean = {1, 2}}); });
  write("bad.png", "not an image");
  EXPECT_THAT(refusal({1, 3, 8, 8}), HasSubstr("bad.png"));
}

}  // namespace
}  // namespace tare::test
