// Records out of images, one sample each: decoded, resized, normalised and laid out as the model's one input wants.
// Odd: a uint8 input takes the pixels as they are: such models normalise inside, so options that would do it are
// refused.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "run/bytes.hpp"
#include "run/image.hpp"
#include "run/records.hpp"
#include "tare/error.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

bool channel_count(std::int64_t dim) { return dim == 1 || dim == 3; }

class ImageRecords final : public Records {
 public:
  ImageRecords(const std::vector<std::filesystem::path>& files, const std::vector<InputSpec>& inputs,
               const ImageOptions& options)
      : files_(files), options_(options) {
    if (inputs.size() != 1)
      throw Error(ErrorKind::data,
                  fmt::format("images feed models with one input, and this one has {}; save the data in an .npz",
                              inputs.size()));
    input_ = inputs[0];
    if (input_.type != DataType::float32 && input_.type != DataType::float16 && input_.type != DataType::uint8)
      refuse_input("images become float32, float16 or uint8");
    find_layout();
    find_size();
    check_normalisation();
    for (const std::filesystem::path& file : files_) check_image(file);
  }

  std::size_t count() const override { return files_.size(); }
  Shape shape(std::size_t, std::size_t) const override {
    return planar_ ? Shape{1, channels_, height_, width_} : Shape{1, height_, width_, channels_};
  }
  Tensor read(std::size_t record, std::size_t input) override {
    Image image = load_image(files_[record], channels_);
    if (options_.resize_shorter > 0) {
      const std::int64_t shorter = std::min(image.width, image.height);
      const std::int64_t width = image.width * options_.resize_shorter / shorter;
      const std::int64_t height = image.height * options_.resize_shorter / shorter;
      if (width > 32768 || height > 32768)
        throw Error(ErrorKind::data, fmt::format("{}: {} x {} pixels once its shorter side is {}: too large",
                                                 where(record, input), width, height, options_.resize_shorter));
      image = resize(image, width, height);
      image = crop_centre(image, width_, height_);
    } else {
      image = resize(image, width_, height_);
    }
    Tensor tensor = Tensor::host(input_.type, shape(record, input));
    for (std::int64_t c = 0; c < channels_; ++c) {
      const std::int64_t from = options_.channel_order == ChannelOrder::bgr ? channels_ - 1 - c : c;
      for (std::int64_t i = 0; i < width_ * height_; ++i)
        store(tensor, planar_ ? c * width_ * height_ + i : i * channels_ + c,
              image.values[static_cast<std::size_t>(i * channels_ + from)], c);
    }
    return tensor;
  }
  Tensor read_rows(std::size_t record, std::size_t input, std::int64_t first, std::int64_t rows) override {
    return slice_rows(read(record, input), first, rows);
  }
  std::string where(std::size_t record, std::size_t) const override {
    return fmt::format("file '{}'", files_[record].string());
  }
  bool grouped() const override { return false; }
  bool of_images() const override { return true; }
  std::uint64_t hash(std::uint64_t start) override {
    for (const std::filesystem::path& file : files_) start = hash_spots(*open_file(file), start);
    std::string text =
        fmt::format("{} {} {}", shape(0, 0).text(), static_cast<int>(options_.channel_order), options_.resize_shorter);
    for (const float value : options_.mean) text += fmt::format(" {}", value);
    for (const float value : options_.std) text += fmt::format(" {}", value);
    return hash_text(text, start);
  }

 private:
  [[noreturn]] void refuse_input(const std::string& what) const {
    throw Error(ErrorKind::data, fmt::format("input '{}' is {}: {}", input_.name, input_.text(), what));
  }

  void find_layout() {
    if (!input_.shape || input_.shape->rank() != 4)
      refuse_input("images need an input of rank 4; save the data in an .npz");
    const Shape& dims = *input_.shape;
    if (options_.layout == ImageLayout::from_model)
      planar_ = channel_count(dims[1]) || !channel_count(dims[3]);
    else
      planar_ = options_.layout == ImageLayout::nchw;
    const std::int64_t channels = dims[planar_ ? 1 : 3];
    if (channels >= 0 && !channel_count(channels))
      refuse_input(fmt::format("{} channels where images have 1 or 3", channels));
    channels_ = channels < 0 ? 3 : channels;
  }
  void find_size() {
    const Shape& dims = *input_.shape;
    const std::int64_t fixed_height = dims[planar_ ? 2 : 1], fixed_width = dims[planar_ ? 3 : 2];
    height_ = options_.height > 0 ? options_.height : fixed_height;
    width_ = options_.width > 0 ? options_.width : fixed_width;
    if (width_ <= 0 || height_ <= 0)
      refuse_input("its height and width are not fixed; say the size to resize images to (--size WxH)");
    if ((fixed_height >= 0 && fixed_height != height_) || (fixed_width >= 0 && fixed_width != width_))
      refuse_input(fmt::format("images of {}x{} (width x height) do not fit it; leave out --size, or say its own",
                               width_, height_));
    if (width_ > 32768 || height_ > 32768) refuse_input("that is too large for an image");
    if (options_.resize_shorter > 0 && options_.resize_shorter < std::max(width_, height_))
      throw Error(ErrorKind::usage, fmt::format("--resize-shorter {} leaves images smaller than the {}x{} (width x "
                                                "height) that are cut out of them; give at least {}",
                                                options_.resize_shorter, width_, height_, std::max(width_, height_)));
  }
  void check_normalisation() {
    const auto spread = [&](std::vector<float>& values, const char* name) {
      if (values.size() == 1) values.resize(static_cast<std::size_t>(channels_), values[0]);
      if (values.size() != static_cast<std::size_t>(channels_))
        throw Error(ErrorKind::usage, fmt::format("{} has {} values; images of this model have {} channels", name,
                                                  values.size(), channels_));
    };
    spread(options_.mean, "--mean");
    spread(options_.std, "--std");
    for (const float value : options_.std)
      if (!(value > 0.0f) || !std::isfinite(value))
        throw Error(ErrorKind::usage, fmt::format("--std must be positive, and holds {}", value));
    const auto all = [](const std::vector<float>& values, float wanted) {
      return std::all_of(values.begin(), values.end(), [&](float value) { return value == wanted; });
    };
    if (input_.type == DataType::uint8 && !(all(options_.mean, 0.0f) && all(options_.std, 1.0f)))
      refuse_input("it takes pixels as they are; leave out --mean and --std");
  }

  void store(Tensor& tensor, std::int64_t at, float pixel, std::int64_t channel) const {
    const auto c = static_cast<std::size_t>(channel);
    if (input_.type == DataType::uint8) {
      tensor.mutable_data<std::uint8_t>()[at] =
          static_cast<std::uint8_t>(std::clamp(std::nearbyint(pixel), 0.0f, 255.0f));
      return;
    }
    const float value = (pixel / 255.0f - options_.mean[c]) / options_.std[c];
    if (input_.type == DataType::float32)
      tensor.mutable_data<float>()[at] = value;
    else
      tensor.mutable_data<std::uint16_t>()[at] = float_to_half(value);
  }

  std::vector<std::filesystem::path> files_;
  InputSpec input_;
  ImageOptions options_;
  bool planar_ = true;
  std::int64_t channels_ = 3, width_ = 0, height_ = 0;
};

}  // namespace

std::unique_ptr<Records> open_image_records(const std::vector<std::filesystem::path>& files,
                                            const std::vector<InputSpec>& inputs, const ImageOptions& options) {
  return std::make_unique<ImageRecords>(files, inputs, options);
}

}  // namespace tare
