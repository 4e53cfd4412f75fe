// What the readers of the data formats have in common: a list of records, each one tensor for every input of the graph,
// whose shapes are known without reading. dataset.cpp checks the shapes, plans batches over the records and reads them.
// A reader knows its format and nothing of batches.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tare/dataset.hpp"

namespace tare {

class Records {
 public:
  virtual ~Records() = default;
  virtual std::size_t count() const = 0;
  virtual Shape shape(std::size_t record, std::size_t input) const = 0;
  /// The whole tensor, or rows of axis 0; always of the input's type.
  virtual Tensor read(std::size_t record, std::size_t input) = 0;
  virtual Tensor read_rows(std::size_t record, std::size_t input, std::int64_t first, std::int64_t rows) = 0;
  /// "file 'x.npz', key 'a'" for messages.
  virtual std::string where(std::size_t record, std::size_t input) const = 0;
  /// True when a record was laid out as one batch by whoever wrote it; false for a pile of samples.
  virtual bool grouped() const = 0;
  /// True when a record is one sample whatever its leading dimension.
  virtual bool one_sample_each() const { return false; }
  virtual bool of_images() const { return false; }
  virtual std::uint64_t hash(std::uint64_t start) = 0;
};

/// What the graph says of one input, for the readers.
struct InputSpec {
  std::string name;
  DataType type = DataType::undefined;
  std::optional<Shape> shape;

  bool fixed(std::size_t axis) const { return shape && axis < shape->rank() && (*shape)[axis] >= 0; }
  /// "float32 [?,3,224,224]"
  std::string text() const;
};
std::vector<InputSpec> inputs_of(const Graph& graph);

/// Shape of `rows` rows of a tensor.
Shape rows_of(Shape shape, std::int64_t rows);
/// Copies rows out of a whole tensor.
Tensor slice_rows(const Tensor& whole, std::int64_t first, std::int64_t rows);

std::unique_ptr<Records> open_npz_records(const std::vector<std::filesystem::path>& files,
                                          const std::vector<InputSpec>& inputs);
std::unique_ptr<Records> open_npy_records(const std::filesystem::path& file, const std::vector<InputSpec>& inputs);
std::unique_ptr<Records> open_list_records(const std::filesystem::path& list, const std::vector<InputSpec>& inputs);
std::unique_ptr<Records> open_onnx_records(const std::vector<std::filesystem::path>& folders,
                                           const std::vector<InputSpec>& inputs);
std::unique_ptr<Records> open_image_records(const std::vector<std::filesystem::path>& files,
                                            const std::vector<InputSpec>& inputs, const ImageOptions& options);

}  // namespace tare
