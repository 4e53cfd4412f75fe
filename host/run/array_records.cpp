// Records out of NumPy files: keys that are input names, keys `NNN/<input>` (one batch each), or a lone .npy array.
// Odd: an array of one rank more than its input is a list of feeds: its first axis counts records and is not passed on.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <deque>
#include <map>

#include "run/npy.hpp"
#include "run/records.hpp"
#include "run/zip.hpp"
#include "tare/error.hpp"

namespace tare {
namespace {

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw Error(ErrorKind::data, fmt::format("{}: {}", where, what));
}

void check_type(const NpyReader& array, const InputSpec& input) {
  if (converts(array.type(), input.type) || (array.opaque16() && input.type == DataType::bfloat16)) return;
  const bool pixels = array.type() == DataType::uint8 && is_quantizable(input.type);
  refuse(array.name(), fmt::format("found {} {}, but input '{}' is {}; {}, e.g. with numpy: a.astype('{}'){}",
                                   name_of(array.type()), array.shape().text(), input.name, input.text(),
                                   pixels ? "scale it as the model was trained" : "convert it", name_of(input.type),
                                   pixels ? " / 255" : ""));
}

/// One feed: for every input an array, and which index of its first axis (-1: all of the array).
struct Feed {
  struct Part {
    std::shared_ptr<NpyReader> array;
    std::int64_t index = -1;
  };
  std::vector<Part> parts;
};

class ArrayRecords final : public Records {
 public:
  explicit ArrayRecords(const std::vector<InputSpec>& inputs) : inputs_(inputs) {}

  /// Arrays in the order of the inputs, as one feed, or as many as those of one rank more have rows.
  void add(std::vector<std::shared_ptr<NpyReader>> arrays, bool grouped) {
    std::int64_t feeds = -1;
    std::size_t counted = 0;
    std::vector<bool> listed;
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      check_type(*arrays[i], inputs_[i]);
      const Shape& shape = arrays[i]->shape();
      listed.push_back(!grouped && inputs_[i].shape && shape.rank() == inputs_[i].shape->rank() + 1);
      if (!listed[i]) continue;
      if (feeds >= 0 && feeds != shape[0])
        refuse(arrays[i]->name(), fmt::format("holds {} samples, but {} holds {}; all inputs need as many", shape[0],
                                              arrays[counted]->name(), feeds));
      feeds = shape[0];
      counted = i;
    }
    if (feeds >= 0) one_sample_each_ = true;
    if (grouped || feeds >= 0) grouped_ = true;
    for (std::int64_t record = 0; record < std::max<std::int64_t>(feeds, feeds < 0 ? 1 : 0); ++record) {
      Feed feed;
      for (std::size_t i = 0; i < inputs_.size(); ++i) feed.parts.push_back({arrays[i], listed[i] ? record : -1});
      feeds_.push_back(std::move(feed));
    }
  }
  void hash_later(std::uint64_t value) { hashes_.push_back(value); }
  void hash_later(const std::shared_ptr<NpyReader>& array) { spots_.push_back(array); }

  std::size_t count() const override { return feeds_.size(); }
  Shape shape(std::size_t record, std::size_t input) const override {
    const Feed::Part& part = feeds_[record].parts[input];
    Shape shape = part.array->shape();
    if (part.index >= 0) shape.erase(0);
    return shape;
  }
  Tensor read(std::size_t record, std::size_t input) override {
    const Feed::Part& part = feeds_[record].parts[input];
    wake(*part.array);
    if (part.index < 0) return part.array->read(inputs_[input].type);
    return part.array->read_rows(part.index, 1, inputs_[input].type).reshaped(shape(record, input));
  }
  Tensor read_rows(std::size_t record, std::size_t input, std::int64_t first, std::int64_t rows) override {
    const Feed::Part& part = feeds_[record].parts[input];
    wake(*part.array);
    if (part.index < 0) return part.array->read_rows(first, rows, inputs_[input].type);
    return slice_rows(read(record, input), first, rows);
  }
  std::string where(std::size_t record, std::size_t input) const override {
    const Feed::Part& part = feeds_[record].parts[input];
    return part.index < 0 ? part.array->name() : fmt::format("{}, index {}", part.array->name(), part.index);
  }
  bool grouped() const override { return grouped_; }
  bool one_sample_each() const override { return one_sample_each_; }
  std::uint64_t hash(std::uint64_t start) override {
    for (const std::uint64_t value : hashes_) start = hash_number(value, start);
    for (const auto& array : spots_) {
      wake(*array);
      start = hash_spots(array->source(), start);
    }
    return start;
  }

 private:
  /// About to be read. A folder may hold more files than a process may have open: those read longest ago are closed.
  void wake(const NpyReader& array) {
    constexpr std::size_t most_awake = 16;
    std::erase(awake_, &array);
    awake_.push_back(&array);
    if (awake_.size() <= std::max(most_awake, 2 * inputs_.size())) return;
    awake_.front()->source().rest();
    awake_.pop_front();
  }

  std::vector<InputSpec> inputs_;
  std::vector<Feed> feeds_;
  std::vector<std::uint64_t> hashes_;
  std::vector<std::shared_ptr<NpyReader>> spots_;
  std::deque<const NpyReader*> awake_;  ///< in the order of their last reads
  bool grouped_ = false, one_sample_each_ = false;
};

/// "007/x" is batch 7's "x"; the digits order the batches.
bool split_key(std::string_view key, std::string_view& batch, std::string_view& input) {
  const std::size_t slash = key.find('/');
  if (slash == std::string_view::npos || slash == 0 || slash > 18) return false;
  batch = key.substr(0, slash);
  input = key.substr(slash + 1);
  return std::all_of(batch.begin(), batch.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::vector<std::string> names_of(const std::vector<InputSpec>& inputs) {
  std::vector<std::string> names;
  names.reserve(inputs.size());
  for (const InputSpec& input : inputs) names.push_back(input.name);
  return names;
}

std::shared_ptr<NpyReader> open_array(const ZipArchive& archive, const ZipMember& member, ArrayRecords& records) {
  auto array = std::make_shared<NpyReader>(archive.open(member));
  records.hash_later(hash_number(member.checksum, hash_number(member.size, hash_text(member.name, hash_start))));
  return array;
}

void add_archive(const std::filesystem::path& file, const std::vector<InputSpec>& inputs, ArrayRecords& records) {
  const ZipArchive archive(file);
  std::map<std::string_view, const ZipMember*> plain;
  std::map<std::uint64_t, std::map<std::string_view, const ZipMember*>> batches;
  for (const ZipMember& member : archive.members()) {
    const std::string_view key = member.key();
    plain[key] = &member;
    std::string_view batch, input;
    if (!split_key(key, batch, input)) continue;
    const auto [known, is_new] = batches[std::stoull(std::string(batch))].emplace(input, &member);
    if (!is_new)
      refuse(archive.name(),
             fmt::format("keys '{}' and '{}' are the same batch and input; give every batch a number of "
                         "its own",
                         known->second->key(), key));
  }
  const auto found_keys = [&] {
    std::string text;
    for (std::size_t i = 0; i < archive.members().size() && i < 8; ++i)
      text += fmt::format("{}'{}'", i == 0 ? "" : ", ", archive.members()[i].key());
    return text.empty() ? std::string("none") : text + (archive.members().size() > 8 ? ", ..." : "");
  };
  const auto feed = [&](const std::map<std::string_view, const ZipMember*>& members, const std::string& prefix) {
    std::vector<std::shared_ptr<NpyReader>> arrays;
    for (const InputSpec& input : inputs) {
      const auto it = members.find(input.name);
      if (it == members.end())
        refuse(archive.name(), fmt::format("no key '{}{}'; the model's inputs are '{}'; found: {}", prefix, input.name,
                                           fmt::join(names_of(inputs), "', '"), found_keys()));
      arrays.push_back(open_array(archive, *it->second, records));
    }
    return arrays;
  };
  const auto matches = [&](std::string_view key) {
    return std::any_of(inputs.begin(), inputs.end(), [&](const InputSpec& input) { return input.name == key; });
  };
  const bool by_name = std::any_of(plain.begin(), plain.end(), [&](const auto& entry) { return matches(entry.first); });
  if (by_name)
    for (const auto& [number, members] : batches)
      for (const auto& [input, member] : members)
        if (matches(input) && !matches(member->key()))
          refuse(archive.name(),
                 fmt::format("key '{}' is one batch of '{}', beside keys that hold all of an input; use "
                             "either kind of keys",
                             member->key(), input));
  if (by_name || batches.empty()) {
    // numpy.savez(file, array) calls its array arr_0: for a model with one input there is no doubt what it is.
    if (!by_name && inputs.size() == 1 && plain.size() == 1) plain[inputs[0].name] = plain.begin()->second;
    records.add(feed(plain, ""), false);
    return;
  }
  for (const auto& [number, members] : batches) {
    std::string_view batch, input;
    split_key(members.begin()->second->key(), batch, input);
    records.add(feed(members, fmt::format("{}/", batch)), true);
  }
}

}  // namespace

std::unique_ptr<Records> open_npz_records(const std::vector<std::filesystem::path>& files,
                                          const std::vector<InputSpec>& inputs) {
  auto records = std::make_unique<ArrayRecords>(inputs);
  for (const std::filesystem::path& file : files) add_archive(file, inputs, *records);
  return records;
}

std::unique_ptr<Records> open_npy_records(const std::filesystem::path& file, const std::vector<InputSpec>& inputs) {
  auto array = std::make_shared<NpyReader>(open_file(file));
  if (inputs.size() != 1)
    refuse(array->name(), fmt::format("one array, but the model has {} inputs ('{}'); save them in one .npz under "
                                      "these names",
                                      inputs.size(), fmt::join(names_of(inputs), "', '")));
  auto records = std::make_unique<ArrayRecords>(inputs);
  records->hash_later(array);
  records->add({std::move(array)}, false);
  return records;
}

}  // namespace tare
