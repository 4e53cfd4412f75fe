// Datasets: a plan of batches over records. The shapes of all records are checked against the graph and the batches are
// planned when the dataset is opened; next() only reads.
// Odd: which inputs have a batch axis is told from model and data together. A dynamic first dimension is one, unless
// this input has one row where others have many; a fixed one is, when the data has more or fewer rows than it says. All
// other inputs go into every batch as they are.
#include "tare/dataset.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "run/bytes.hpp"
#include "run/data_files.hpp"
#include "run/records.hpp"
#include "tare/error.hpp"

namespace tare {
namespace {

constexpr std::int64_t default_batch = 8;

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw Error(ErrorKind::data, fmt::format("{}: {}", where, what));
}

/// What NumPy does about the two commonest reasons why a shape does not fit, or nothing. `wanted`: -1 is any.
std::string way_to_fit(const Shape& found, const Shape& wanted) {
  const auto fits = [&](const auto& axis_of) {  // but for the batch
    for (std::size_t axis = 1; axis < wanted.rank(); ++axis)
      if (wanted[axis] >= 0 && wanted[axis] != found[axis_of(axis)]) return false;
    return true;
  };
  const std::size_t rank = wanted.rank();
  if (found.rank() + 1 == rank && wanted[0] <= 1 && fits([](std::size_t axis) { return axis - 1; }))
    return "; for a single sample add the axis of the batch: a[None]";
  if (found.rank() != 4 || rank != 4) return {};
  if (wanted[1] >= 0 && fits([](std::size_t axis) { return axis == 1 ? 3 : axis - 1; }))
    return "; its channels are last: a.transpose(0, 3, 1, 2)";
  if (wanted[3] >= 0 && fits([](std::size_t axis) { return axis == 3 ? 1 : axis + 1; }))
    return "; its channels are first: a.transpose(0, 2, 3, 1)";
  return {};
}

struct Piece {
  std::size_t record = 0;
  std::int64_t first = 0, rows = 0;
  bool whole = true;  ///< all of the record
};

struct PlannedBatch {
  std::vector<Piece> pieces;
  std::size_t first_sample = 0, samples = 0;
};

class Planner {
 public:
  Planner(const Records& records, const std::vector<InputSpec>& inputs, const DataOptions& options)
      : records_(records), inputs_(inputs), options_(options) {}

  void check_shapes() const {
    for (std::size_t r = 0; r < records_.count(); ++r)
      for (std::size_t i = 0; i < inputs_.size(); ++i) {
        const InputSpec& input = inputs_[i];
        if (!input.shape) continue;
        const Shape found = records_.shape(r, i);
        bool fits = found.rank() == input.shape->rank();
        for (std::size_t axis = 1; fits && axis < found.rank(); ++axis)
          fits = !input.fixed(axis) || (*input.shape)[axis] == found[axis];
        if (!fits)
          refuse(records_.where(r, i), fmt::format("found shape {}, but input '{}' is {}{}", found.text(), input.name,
                                                   input.text(), way_to_fit(found, *input.shape)));
      }
  }

  /// Sets which inputs are cut into rows, and the rows that a batch must have (0: any).
  void find_batch_axes() {
    batched_.assign(inputs_.size(), false);
    std::vector<bool> single(inputs_.size(), true);
    bool many = false;
    for (std::size_t r = 0; r < records_.count(); ++r)
      for (std::size_t i = 0; i < inputs_.size(); ++i) {
        const Shape shape = records_.shape(r, i);
        if (shape.rank() == 0) continue;
        const bool one = shape[0] == 1;
        if (!one) single[i] = false;
        if (inputs_[i].fixed(0))
          batched_[i] = batched_[i] || shape[0] != (*inputs_[i].shape)[0];
        else
          many = many || !one;
      }
    for (std::size_t i = 0; i < inputs_.size(); ++i) many = many || batched_[i];
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      const bool scalar = inputs_[i].shape ? inputs_[i].shape->rank() == 0 : records_.shape(0, i).rank() == 0;
      if (!inputs_[i].fixed(0) && !scalar) batched_[i] = !(many && single[i] && inputs_.size() > 1);
      if (!batched_[i] || !inputs_[i].fixed(0)) continue;
      const std::int64_t rows = (*inputs_[i].shape)[0];
      if (rows == 0 || (fixed_rows_ != 0 && rows != fixed_rows_))
        refuse(records_.where(0, i),
               fmt::format("found shape {}, but input '{}' is {}, and these inputs cannot be cut into "
                           "batches together; give one batch a key ('000/{}', '001/{}', ...)",
                           records_.shape(0, i).text(), inputs_[i].name, inputs_[i].text(), inputs_[i].name,
                           inputs_[i].name));
      fixed_rows_ = rows;
    }
    any_batched_ = std::find(batched_.begin(), batched_.end(), true) != batched_.end();
    joinable_ = std::find(batched_.begin(), batched_.end(), false) == batched_.end();
  }

  std::vector<PlannedBatch> plan() {
    const std::int64_t asked = static_cast<std::int64_t>(std::min<std::size_t>(options_.batch_size, 1u << 30));
    rows_ = fixed_rows_ != 0 ? fixed_rows_ : asked != 0 ? asked : records_.grouped() ? 0 : default_batch;
    for (std::size_t r = 0; r < records_.count(); ++r) add_record(r);
    close();
    return std::move(batches_);
  }

  /// Samples up to the last one that was taken or looked at: those in batches, and those that fill none.
  std::size_t rows_seen() const { return taken_ + left_over_; }
  std::size_t rows_there() const {
    const auto input = static_cast<std::size_t>(std::find(batched_.begin(), batched_.end(), true) - batched_.begin());
    std::size_t rows = 0;
    for (std::size_t r = 0; r < records_.count(); ++r) {
      const Shape shape = any_batched_ ? records_.shape(r, input) : Shape();
      rows += static_cast<std::size_t>(shape.rank() > 0 ? shape[0] : rows_without_batches(r));
    }
    return rows;
  }

 private:
  /// Of the first input with a batch axis; `uneven`: another one has more or fewer, so that nothing can be cut.
  struct Rows {
    std::int64_t count = -1;
    bool uneven = false;
  };
  Rows rows_in(std::size_t record) const {
    Rows rows;
    std::size_t counted = 0;
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      if (!batched_[i]) continue;
      const std::int64_t found = records_.shape(record, i)[0];
      if (rows.count < 0) {
        rows.count = found;
        counted = i;
      } else if (found != rows.count) {
        if (rows_ != 0 || records_.one_sample_each())
          refuse(
              records_.where(record, i),
              fmt::format("input '{}' has {} rows here, but input '{}' has {}; where these are no samples, give one "
                          "batch a key ('000/{}', '001/{}', ...), and no batch size",
                          inputs_[i].name, found, inputs_[counted].name, rows.count, inputs_[i].name, inputs_[i].name));
        rows.uneven = true;
      }
    }
    return rows;
  }

  std::int64_t rows_without_batches(std::size_t r) const {
    const bool one = records_.one_sample_each() || records_.shape(r, 0).rank() == 0;
    return one ? 1 : std::max<std::int64_t>(1, records_.shape(r, 0)[0]);
  }

  void add_record(std::size_t r) {
    if (taken_ + current_.samples >= options_.samples) return;
    if (!any_batched_) {
      current_ = {{{r, 0, 0, true}}, record_start_, static_cast<std::size_t>(rows_without_batches(r))};
      record_start_ += current_.samples;
      close();
      return;
    }
    if (!current_.pieces.empty() && !(joinable_ && rows_ != 0 && same_rows(current_.pieces[0].record, r))) close();
    const auto [all, uneven] = rows_in(r);
    if (all == 0 && records_.grouped()) {
      const auto input = static_cast<std::size_t>(std::find(batched_.begin(), batched_.end(), true) - batched_.begin());
      refuse(records_.where(r, input),
             "is a batch of 0 samples; leave it out: those behind it would change their numbers");
    }
    const std::size_t wanted = std::min<std::size_t>(options_.samples - taken_ - current_.samples, 1u << 30);
    std::int64_t rows = uneven ? all : std::min(all, static_cast<std::int64_t>(wanted));
    for (std::int64_t first = 0; rows > 0;) {
      const std::int64_t room = rows_ == 0 ? rows : rows_ - static_cast<std::int64_t>(current_.samples);
      const std::int64_t part = std::min(rows, room);
      if (current_.pieces.empty()) current_.first_sample = record_start_ + static_cast<std::size_t>(first);
      current_.pieces.push_back({r, first, part, first == 0 && part == all});
      current_.samples += static_cast<std::size_t>(part);
      first += part;
      rows -= part;
      if (rows_ == 0 || static_cast<std::int64_t>(current_.samples) == rows_) close();
    }
    record_start_ += static_cast<std::size_t>(all);
  }

  bool same_rows(std::size_t a, std::size_t b) const {
    for (std::size_t i = 0; i < inputs_.size(); ++i)
      if (rows_of(records_.shape(a, i), 1) != rows_of(records_.shape(b, i), 1)) return false;
    return true;
  }

  void close() {
    if (current_.pieces.empty()) return;
    if (fixed_rows_ != 0 && static_cast<std::int64_t>(current_.samples) != fixed_rows_) {
      left_over_ += current_.samples;
    } else {
      taken_ += current_.samples;
      batches_.push_back(std::move(current_));
    }
    current_ = {};
  }

  const Records& records_;
  const std::vector<InputSpec>& inputs_;
  const DataOptions& options_;
  std::vector<bool> batched_;
  bool any_batched_ = false, joinable_ = false;
  std::int64_t fixed_rows_ = 0, rows_ = 0;
  std::vector<PlannedBatch> batches_;
  PlannedBatch current_;
  std::size_t taken_ = 0, left_over_ = 0;
  std::size_t record_start_ = 0;  ///< index of the next record's first sample in the data

 public:
  const std::vector<bool>& batched() const { return batched_; }
};

class PlannedDataset final : public Dataset {
 public:
  /// `beyond`: samples that are not among the records, as the limit of the options leaves them out.
  PlannedDataset(std::unique_ptr<Records> records, std::vector<InputSpec> inputs, const DataOptions& options,
                 std::string source, std::size_t beyond)
      : records_(std::move(records)), inputs_(std::move(inputs)), source_(std::move(source)) {
    if (inputs_.empty()) {
      refuse(source_, "the model has no inputs, so there is nothing to feed");
    }
    if (records_->count() == 0) refuse(source_, "holds no samples; give at least one");
    Planner planner(*records_, inputs_, options);
    planner.check_shapes();
    planner.find_batch_axes();
    batched_ = planner.batched();
    batches_ = planner.plan();
    const std::size_t rows = planner.rows_seen();
    if (rows == 0) refuse(source_, "holds arrays of 0 samples; give at least one");
    if (batches_.empty())
      refuse(source_, fmt::format("{} samples do not make one batch of the model, whose batch dimension is fixed; give "
                                  "more, or export the model with a dynamic one",
                                  rows));
    choose_shard(options.shard, rows);
    available_ = planner.rows_there() + beyond;
    limited_ = rows < available_;
  }

  std::optional<Batch> next() override {
    if (position_ == end_) return std::nullopt;
    const PlannedBatch& planned = batches_[position_++];
    Batch batch;
    batch.first_sample = planned.first_sample;
    batch.samples = planned.samples;
    for (std::size_t i = 0; i < inputs_.size(); ++i) batch.inputs.push_back(read_input(planned, i));
    return batch;
  }
  void rewind() override { position_ = begin_; }
  std::size_t samples() const override { return samples_; }
  std::size_t batches() const override { return end_ - begin_; }
  std::size_t left_out() const override { return left_out_; }
  std::size_t available() const override { return available_; }
  Shard shard() const override { return shard_; }

  std::string description() const override {
    const std::string of = limited_ ? fmt::format(" of {}", available_) : "";
    std::string text =
        fmt::format("{}{} sample{} in {} batch{} from {}", samples_, of, samples_ == 1 && !limited_ ? "" : "s",
                    batches(), batches() == 1 ? "" : "es", source_);
    if (shard_.count > 1) text += fmt::format(", shard {}/{}", shard_.index, shard_.count);
    if (left_out_ != 0) text += fmt::format(" ({} left out: no full batch of the model's fixed size)", left_out_);
    return text;
  }

  std::uint64_t fingerprint() const override {
    std::uint64_t hash = hash_start;
    for (const PlannedBatch& batch : batches_) {
      hash = hash_number(batch.samples, hash);
      for (const Piece& piece : batch.pieces) {
        hash = hash_number(piece.record, hash);
        hash = hash_number(static_cast<std::uint64_t>(piece.first), hash);
      }
    }
    for (const InputSpec& input : inputs_) hash = hash_text(input.name, hash);
    return records_->hash(hash);
  }

 private:
  /// `rows`: the samples in all batches and between and behind them.
  void choose_shard(const Shard& shard, std::size_t rows) {
    if (shard.index < 1 || shard.index > shard.count)
      throw Error(ErrorKind::usage, fmt::format("there is no shard {} of {}", shard.index, shard.count));
    if (shard.count > batches_.size())
      throw Error(ErrorKind::usage, fmt::format("{}: {} batches cannot be cut into {} shards; use fewer shards or a "
                                                "smaller --batch-size",
                                                source_, batches_.size(), shard.count));
    shard_ = shard;
    begin_ = position_ = batches_.size() * (shard.index - 1) / shard.count;
    end_ = batches_.size() * shard.index / shard.count;
    for (std::size_t i = begin_; i < end_; ++i) samples_ += batches_[i].samples;
    // What lies in front of a shard's first batch counts for the one before, so that all shards add up.
    const std::size_t first = begin_ == 0 ? 0 : batches_[begin_].first_sample;
    left_out_ = (end_ == batches_.size() ? rows : batches_[end_].first_sample) - first - samples_;
  }

  Tensor read_input(const PlannedBatch& planned, std::size_t i) const {
    if (!batched_[i] || (planned.pieces.size() == 1 && planned.pieces[0].whole))
      return records_->read(planned.pieces[0].record, i);
    if (planned.pieces.size() == 1)
      return records_->read_rows(planned.pieces[0].record, i, planned.pieces[0].first, planned.pieces[0].rows);
    const Shape shape =
        rows_of(records_->shape(planned.pieces[0].record, i), static_cast<std::int64_t>(planned.samples));
    Tensor joined = Tensor::host(inputs_[i].type, shape);
    std::byte* to = joined.mutable_data();
    for (const Piece& piece : planned.pieces) {
      const Tensor part = records_->read_rows(piece.record, i, piece.first, piece.rows);
      if (part.bytes() != 0) std::memcpy(to, part.data(), part.bytes());
      to += part.bytes();
    }
    return joined;
  }

  std::unique_ptr<Records> records_;
  std::vector<InputSpec> inputs_;
  std::string source_;
  std::vector<bool> batched_;
  std::vector<PlannedBatch> batches_;
  Shard shard_;
  std::size_t begin_ = 0, end_ = 0;  ///< of `batches_`: those of the shard
  std::size_t position_ = 0, samples_ = 0, left_out_ = 0, available_ = 0;
  bool limited_ = false;  ///< by DataOptions::samples
};

}  // namespace

std::string InputSpec::text() const {
  if (!shape) return fmt::format("{} of any shape", name_of(type));
  std::string dims;
  for (const std::int64_t dim : *shape)
    dims += fmt::format("{}{}", dims.empty() ? "" : ",", dim < 0 ? "?" : std::to_string(dim));
  return fmt::format("{} [{}]", name_of(type), dims);
}

std::vector<InputSpec> inputs_of(const Graph& graph) {
  std::vector<InputSpec> inputs;
  for (const ValueId id : graph.inputs) {
    const Value& value = graph.value(id);
    if (size_of(value.type) == 0)
      throw Error(ErrorKind::unsupported,
                  fmt::format("input '{}' of the model is of type {}, which no data format here holds", value.name,
                              name_of(value.type)));
    inputs.push_back({value.name, value.type, value.shape});
  }
  return inputs;
}

Shape rows_of(Shape shape, std::int64_t rows) {
  if (shape.rank() > 0) shape[0] = rows;
  return shape;
}

Tensor slice_rows(const Tensor& whole, std::int64_t first, std::int64_t rows) {
  Tensor part = Tensor::host(whole.type(), rows_of(whole.shape(), rows));
  const std::size_t row = rows == 0 ? 0 : part.bytes() / static_cast<std::size_t>(rows);
  if (part.bytes() != 0)
    std::memcpy(part.mutable_data(), whole.data() + static_cast<std::size_t>(first) * row, part.bytes());
  return part;
}

namespace {

/// Adds to `beyond` what the limit of the options leaves unopened.
std::unique_ptr<Records> open_records(const std::filesystem::path& path, const std::vector<InputSpec>& inputs,
                                      const DataOptions& options, std::size_t& beyond) {
  DataPaths data = find_data(path);
  switch (data.kind) {
    case DataKind::npz: return open_npz_records(data.paths, inputs);
    case DataKind::npy: return open_npy_records(path, inputs);
    case DataKind::list: return open_list_records(path, inputs);
    case DataKind::onnx_tests: return open_onnx_records(data.paths, inputs);
    case DataKind::images:
      beyond += data.paths.size() - std::min(data.paths.size(), options.samples);
      data.paths.resize(std::min(data.paths.size(), options.samples));
      return open_image_records(data.paths, inputs, options.image.value_or(ImageOptions()));
    case DataKind::none: break;
  }
  if (std::filesystem::is_directory(path)) {
    const auto arrays = std::count_if(std::filesystem::directory_iterator(path), {},
                                      [](const auto& entry) { return entry.path().extension() == ".npy"; });
    refuse(
        fmt::format("folder '{}'", path.string()),
        fmt::format("holds no .npz files, no test_data_set_* folders and no images (.jpg, .png, .bmp){}",
                    arrays == 0 ? ""
                                : fmt::format("; its {} .npy files have to be one array: numpy.stack, then numpy.save "
                                              "or numpy.savez",
                                              arrays)));
  }
  refuse(fmt::format("file '{}'", path.string()),
         "is of no known kind; data is an .npz or .npy file, a .txt list of raw files, or a folder of .npz files, "
         "images or test_data_set_* folders");
}

}  // namespace

std::unique_ptr<Dataset> open_dataset(const std::filesystem::path& path, const Graph& graph,
                                      const DataOptions& options) {
  if (options.samples == 0) throw Error(ErrorKind::usage, "the number of samples must be at least 1");
  std::error_code failed;
  if (!std::filesystem::exists(path, failed))
    throw Error(ErrorKind::io, fmt::format("data '{}': no such file or folder", path.string()));
  const std::vector<InputSpec> inputs = inputs_of(graph);
  std::unique_ptr<Records> records;
  std::size_t beyond = 0;
  try {
    records = open_records(path, inputs, options, beyond);
  } catch (const std::filesystem::filesystem_error& error) {
    throw Error(ErrorKind::io, fmt::format("data '{}': {}", path.string(), error.code().message()));
  }
  if (options.image && !records->of_images())
    throw Error(ErrorKind::usage,
                fmt::format("data '{}' holds no images: --mean, --std, --size, --resize-shorter, --layout and "
                            "--channel-order change nothing there; leave them out",
                            path.string()));
  return std::make_unique<PlannedDataset>(std::move(records), inputs, options,
                                          path.filename().empty() ? path.string() : path.filename().string(), beyond);
}

}  // namespace tare
