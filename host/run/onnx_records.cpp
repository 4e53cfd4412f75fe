// Records out of ONNX test data: folders with input_0.pb, input_1.pb, ..., one serialized tensor each, in the order of
// the graph's inputs. Opening reads types and shapes alone.
#include <fmt/format.h>

#include "run/bytes.hpp"
#include "run/data_files.hpp"
#include "run/records.hpp"
#include "tare/error.hpp"
#include "tare/model.hpp"

namespace tare {
namespace {

class OnnxRecords final : public Records {
 public:
  OnnxRecords(const std::vector<std::filesystem::path>& folders, const std::vector<InputSpec>& inputs)
      : folders_(folders) {
    for (std::size_t record = 0; record < folders_.size(); ++record) {
      std::vector<Shape>& shapes = shapes_.emplace_back();
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        if (!std::filesystem::exists(file(record, i)))
          throw Error(ErrorKind::data, fmt::format("folder '{}': no file 'input_{}.pb' for input '{}'; every folder "
                                                   "needs one a model input",
                                                   folders_[record].string(), i, inputs[i].name));
        const Value found = load_tensor_header(file(record, i));
        if (found.type != inputs[i].type)
          throw Error(ErrorKind::data,
                      fmt::format("{}: found {} {}, but input '{}' is {}; write it in that type", where(record, i),
                                  name_of(found.type), found.shape->text(), inputs[i].name, inputs[i].text()));
        shapes.push_back(*found.shape);
      }
    }
  }

  std::size_t count() const override { return folders_.size(); }
  Shape shape(std::size_t record, std::size_t input) const override { return shapes_[record][input]; }
  Tensor read(std::size_t record, std::size_t input) override {
    // A copy: a view of the file would be read by nobody but keep all of it.
    const Tensor tensor = load(record, input);
    if (tensor.rank() > 0) return slice_rows(tensor, 0, tensor.shape()[0]);
    return slice_rows(tensor.reshaped({1}), 0, 1).reshaped({});
  }
  Tensor read_rows(std::size_t record, std::size_t input, std::int64_t first, std::int64_t rows) override {
    return slice_rows(load(record, input), first, rows);
  }
  std::string where(std::size_t record, std::size_t input) const override {
    return fmt::format("file '{}'", file(record, input).string());
  }
  bool grouped() const override { return true; }
  std::uint64_t hash(std::uint64_t start) override {
    for (std::size_t record = 0; record < count(); ++record)
      for (std::size_t i = 0; i < shapes_[record].size(); ++i) start = hash_spots(*open_file(file(record, i)), start);
    return start;
  }

 private:
  std::filesystem::path file(std::size_t record, std::size_t input) const {
    return onnx_test_file(folders_[record], input);
  }
  Tensor load(std::size_t record, std::size_t input) const {
    Tensor tensor = load_tensor(file(record, input));
    if (tensor.shape() != shapes_[record][input])
      throw Error(ErrorKind::data, fmt::format("{}: has changed while it was in use; run again", where(record, input)));
    return tensor;
  }

  std::vector<std::filesystem::path> folders_;
  std::vector<std::vector<Shape>> shapes_;  ///< by record and input
};

}  // namespace

std::unique_ptr<Records> open_onnx_records(const std::vector<std::filesystem::path>& folders,
                                           const std::vector<InputSpec>& inputs) {
  return std::make_unique<OnnxRecords>(folders, inputs);
}

}  // namespace tare
