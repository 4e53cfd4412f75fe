// Records out of a list of raw files: every line names one file for every input, `name:=file` or, for a model with one
// input, just the file. Elements lie little-endian, row-major, in the input's type.
// Odd: one dimension of an input may be dynamic; the length of its file then says how long it is.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "model/tensor_proto.hpp"
#include "run/bytes.hpp"
#include "run/data_files.hpp"
#include "run/records.hpp"
#include "tare/error.hpp"

namespace tare {
namespace {

struct RawFile {
  std::filesystem::path path;
  Shape shape;
};

class ListRecords final : public Records {
 public:
  ListRecords(const std::filesystem::path& list, const std::vector<InputSpec>& inputs) : inputs_(inputs) {
    for (const InputSpec& input : inputs_) input_names_.push_back(input.name);
    for (const ListLine& line : read_list(list))
      add_line(line, fmt::format("file '{}', line {}", list.string(), line.number), list.parent_path());
  }

  std::size_t count() const override { return records_.size(); }
  Shape shape(std::size_t record, std::size_t input) const override { return records_[record][input].shape; }
  Tensor read(std::size_t record, std::size_t input) override {
    return read_elements(records_[record][input], input, 0, records_[record][input].shape);
  }
  Tensor read_rows(std::size_t record, std::size_t input, std::int64_t first, std::int64_t rows) override {
    const RawFile& file = records_[record][input];
    return read_elements(file, input, first * file.shape.elements(1, file.shape.rank()), rows_of(file.shape, rows));
  }
  std::string where(std::size_t record, std::size_t input) const override {
    return fmt::format("file '{}'", records_[record][input].path.string());
  }
  bool grouped() const override { return true; }
  std::uint64_t hash(std::uint64_t start) override {
    for (const auto& record : records_)
      for (const RawFile& file : record) start = hash_spots(*open_file(file.path), start);
    return start;
  }

 private:
  Tensor read_elements(const RawFile& file, std::size_t input, std::int64_t first, const Shape& shape) const {
    Tensor tensor = Tensor::host(inputs_[input].type, shape);
    const std::size_t width = size_of(inputs_[input].type);
    open_file(file.path)->read(static_cast<std::uint64_t>(first) * width, {tensor.mutable_data(), tensor.bytes()});
    return normalised(std::move(tensor));
  }

  void add_line(const ListLine& line, const std::string& where, const std::filesystem::path& folder) {
    std::vector<std::optional<RawFile>> files(inputs_.size());
    for (const std::string& word : line.words) {
      const ListWord found = split_list_word(word, input_names_);
      if (!found.input && word.find(":=") != std::string::npos)
        throw Error(ErrorKind::data, fmt::format("{}: the model has no input '{}'; it has {}", where,
                                                 word.substr(0, word.find(":=")), names()));
      if (!found.input && inputs_.size() != 1)
        throw Error(ErrorKind::data, fmt::format("{}: '{}' does not say its input; write input:={} (inputs: {})", where,
                                                 word, word, names()));
      const std::size_t input = found.input.value_or(0);
      if (files[input])
        throw Error(ErrorKind::data, fmt::format("{}: input '{}' is given twice", where, inputs_[input].name));
      files[input] = open_raw(folder / found.file, inputs_[input], where);
    }
    std::vector<RawFile> record;
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      if (!files[i]) throw Error(ErrorKind::data, fmt::format("{}: no file for input '{}'", where, inputs_[i].name));
      record.push_back(std::move(*files[i]));
    }
    records_.push_back(std::move(record));
  }

  RawFile open_raw(const std::filesystem::path& path, const InputSpec& input, const std::string& where) const {
    std::error_code failed;
    const std::uintmax_t size = std::filesystem::file_size(path, failed);
    if (failed)
      throw Error(ErrorKind::io,
                  fmt::format("{}: file '{}' cannot be read: {}", where, path.string(), failed.message()));
    const auto dynamic =
        input.shape ? std::count_if(input.shape->begin(), input.shape->end(), [](auto d) { return d < 0; }) : 2;
    if (dynamic > 1 || size_of(input.type) == 0)
      throw Error(ErrorKind::data, fmt::format("{}: input '{}' is {}: raw files do not tell such a shape; use .npz",
                                               where, input.name, input.text()));
    RawFile file{path, *input.shape};
    std::int64_t known = 1;
    for (const std::int64_t dim : file.shape)
      if (__builtin_mul_overflow(known, dim < 0 ? 1 : dim, &known)) known = std::numeric_limits<std::int64_t>::max();
    const std::uintmax_t unit = static_cast<std::uintmax_t>(known) * size_of(input.type);
    if (unit == 0 ? size != 0 : (size % unit != 0 || (dynamic == 0 && size != unit) || size == 0))
      throw Error(ErrorKind::data,
                  fmt::format("{}: file '{}' is {} bytes long, but input '{}' is {}, {}{} bytes", where, path.string(),
                              size, input.name, input.text(), dynamic == 0 ? "" : "a multiple of ", unit));
    for (std::int64_t& dim : file.shape)
      if (dim < 0) dim = unit == 0 ? 0 : static_cast<std::int64_t>(size / unit);
    return file;
  }

  std::string names() const {
    std::string text;
    for (const InputSpec& input : inputs_) text += fmt::format("{}'{}'", text.empty() ? "" : ", ", input.name);
    return text;
  }

  std::vector<InputSpec> inputs_;
  std::vector<std::string> input_names_;
  std::vector<std::vector<RawFile>> records_;
};

}  // namespace

std::unique_ptr<Records> open_list_records(const std::filesystem::path& list, const std::vector<InputSpec>& inputs) {
  return std::make_unique<ListRecords>(list, inputs);
}

}  // namespace tare
