// Records out of ONNX test data: folders with input_0.pb, input_1.pb, ..., one serialized tensor each, in the order of
// the graph's inputs. These files are small: they are read whole when the dataset is opened.
#include <fmt/format.h>

#include "run/bytes.hpp"
#include "run/records.hpp"
#include "tare/error.hpp"
#include "tare/model.hpp"

namespace tare {
namespace {

class OnnxRecords final : public Records {
 public:
  OnnxRecords(const std::vector<std::filesystem::path>& folders, const std::vector<InputSpec>& inputs) {
    for (const std::filesystem::path& folder : folders) {
      std::vector<Tensor> tensors;
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        const std::filesystem::path file = folder / fmt::format("input_{}.pb", i);
        if (!std::filesystem::exists(file))
          throw Error(ErrorKind::data, fmt::format("folder '{}': no file 'input_{}.pb' for input '{}'", folder.string(),
                                                   i, inputs[i].name));
        tensors.push_back(load_tensor(file));
        if (tensors[i].type() != inputs[i].type)
          throw Error(ErrorKind::data, fmt::format("file '{}': found {} {}, but input '{}' is {}", file.string(),
                                                   name_of(tensors[i].type()), tensors[i].shape().text(),
                                                   inputs[i].name, inputs[i].text()));
      }
      folders_.push_back(folder);
      tensors_.push_back(std::move(tensors));
    }
  }

  std::size_t count() const override { return tensors_.size(); }
  Shape shape(std::size_t record, std::size_t input) const override { return tensors_[record][input].shape(); }
  /// A copy: who reads a batch may overwrite it.
  Tensor read(std::size_t record, std::size_t input) override {
    const Tensor& tensor = tensors_[record][input];
    if (tensor.rank() > 0) return slice_rows(tensor, 0, tensor.shape()[0]);
    return slice_rows(tensor.reshaped({1}), 0, 1).reshaped({});
  }
  Tensor read_rows(std::size_t record, std::size_t input, std::int64_t first, std::int64_t rows) override {
    return slice_rows(tensors_[record][input], first, rows);
  }
  std::string where(std::size_t record, std::size_t input) const override {
    return fmt::format("file '{}'", (folders_[record] / fmt::format("input_{}.pb", input)).string());
  }
  bool grouped() const override { return true; }
  std::uint64_t hash(std::uint64_t start) override {
    for (const auto& record : tensors_)
      for (const Tensor& tensor : record)
        start = hash_bytes({tensor.data(), tensor.bytes()}, hash_text(tensor.shape().text(), start));
    return start;
  }

 private:
  std::vector<std::filesystem::path> folders_;
  std::vector<std::vector<Tensor>> tensors_;
};

}  // namespace

std::unique_ptr<Records> open_onnx_records(const std::vector<std::filesystem::path>& folders,
                                           const std::vector<InputSpec>& inputs) {
  return std::make_unique<OnnxRecords>(folders, inputs);
}

}  // namespace tare
