// Data that a model is fed with: a Dataset yields batches that fit the graph, from NumPy files, raw files, ONNX test
// folders or images. Also the NumPy files themselves: reading arrays and labels, writing outputs. Names, types, ranks
// and fixed dimensions are checked when a dataset is opened, before anything runs. Odd: an input without a batch axis
// (a state given once beside many samples) is handed out again with every batch.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tare/graph.hpp"

namespace tare {

/// What one run of the model is fed with.
struct Batch {
  std::vector<Tensor> inputs;    ///< in the order of graph.inputs; host tensors, plain layout
  std::size_t first_sample = 0;  ///< index of the first sample in the data; shards and what is left out count
  std::size_t samples = 0;       ///< rows along the batch axis
};

enum class ImageLayout { from_model, nchw, nhwc };
enum class ChannelOrder { rgb, bgr };

/// How an image becomes a tensor: resized, then (pixel / 255 - mean) / std for every channel.
struct ImageOptions {
  std::vector<float> mean{0.0f};  ///< one for every channel, or one for all, in the order of the tensor's channels
  std::vector<float> std{1.0f};
  std::int64_t width = 0;  ///< 0: as the model says
  std::int64_t height = 0;
  /// 0: stretch to width x height; else scale the shorter side to this and cut width x height out of the centre, both
  /// rounded as torchvision does.
  std::int64_t resize_shorter = 0;
  ImageLayout layout = ImageLayout::from_model;  ///< from_model: channels are where the model has 1 or 3
  ChannelOrder channel_order = ChannelOrder::rgb;
};

/// One of `count` parts of the batches, in their order, as equal as they can be. 1 of 1: all of them.
struct Shard {
  std::size_t index = 1;
  std::size_t count = 1;
};

struct DataOptions {
  std::size_t samples = 2000;           ///< at most
  std::size_t batch_size = 0;           ///< 0: as the model or the data say, 8 where neither does
  std::optional<ImageOptions> image{};  ///< for images alone: Error(usage) when there are none
  Shard shard{};                        ///< of the batches that the other options give
};

class Dataset {
 public:
  virtual ~Dataset() = default;

  /// The next batch, or nothing at the end. Throws Error(data) for data that cannot be read.
  virtual std::optional<Batch> next() = 0;
  /// Back to the first batch.
  virtual void rewind() = 0;
  virtual std::size_t samples() const = 0;
  virtual std::size_t batches() const = 0;
  /// Samples between those, or behind them, that fill no batch of the size that the model fixes.
  virtual std::size_t left_out() const { return 0; }
  /// Samples there are, also behind the last one that DataOptions::samples takes, and of all shards.
  virtual std::size_t available() const { return samples() + left_out(); }
  /// "1000 samples in 125 batches from pages.npz", and what was left out, on one line.
  virtual std::string description() const = 0;
  /// Changes with the data, its order and the grouping into batches. Large files count by size, checksum or spot
  /// checks. The same for all shards.
  virtual std::uint64_t fingerprint() const = 0;
  virtual Shard shard() const { return {}; }
};

/// Opens `path` and checks it against the inputs of the graph. Accepted (docs/data.md):
/// - `.npz` with input names as keys: axis 0 counts samples; an array of one rank more holds one feed an index;
/// - `.npz` with keys `NNN/<input>`: batch NNN, shapes may vary from batch to batch;
/// - `.npy`: the array of the only input;
/// - a folder of `.npz`, in the order of their names;
/// - a `.txt` list: every line `input:=file.raw ...` (or one file), relative to the list, raw little-endian;
/// - a `test_data_set_*` folder of ONNX (`input_N.pb`), or a folder of such folders;
/// - a folder of `.jpg`, `.png`, `.bmp` images, for a model with one image input.
/// Types must be the input's; float64 is narrowed to float32 and int32 widened to int64.
std::unique_ptr<Dataset> open_dataset(const std::filesystem::path& path, const Graph& graph,
                                      const DataOptions& options = {});

/// The same batches, read ahead by one thread. At most `depth` batches wait.
std::unique_ptr<Dataset> prefetch(std::unique_ptr<Dataset> dataset, std::size_t depth = 2);

/// Class labels: `.npy` of integers, or text with one label a line (`.csv`: the column `label`, else the last).
std::vector<std::int64_t> read_labels(const std::filesystem::path& path);

/// A whole `.npy` file in row-major order; types as NumPy has them.
Tensor read_npy(const std::filesystem::path& path);
void write_npy(const std::filesystem::path& path, const Tensor& tensor);

/// The arrays of an `.npz` file, in the order of the file. Throws Error(data) for a file that is damaged or not one.
class NpzFile {
 public:
  explicit NpzFile(const std::filesystem::path& path);
  NpzFile(NpzFile&&) noexcept;
  NpzFile& operator=(NpzFile&&) noexcept;
  ~NpzFile();

  const std::vector<std::string>& keys() const;
  bool has(std::string_view key) const;
  Shape shape(std::string_view key) const;
  DataType type(std::string_view key) const;
  Tensor read(std::string_view key) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Writes an `.npz` file, not compressed, beside its place and moves it there on commit(): a file under its name is
/// always whole.
class NpzWriter {
 public:
  explicit NpzWriter(const std::filesystem::path& path);
  NpzWriter(NpzWriter&&) noexcept;
  NpzWriter& operator=(NpzWriter&&) noexcept;
  /// Without commit() nothing is left behind.
  ~NpzWriter();

  /// One array. Keys are unique, and may hold '/' ("000/logits").
  void add(std::string_view key, const Tensor& tensor);
  /// One array in pieces: begin, append (row-major little-endian elements), end.
  void begin(std::string_view key, DataType type, const Shape& shape);
  void append(std::span<const std::byte> elements);
  void end();
  void commit();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tare
