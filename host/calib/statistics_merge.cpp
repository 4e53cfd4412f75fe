// Statistics of several runs as one: what may be added up, and the name that the data of the sum gets. The name of a
// shard is "hash#2/4": the hash is that of the whole data, so that shards of all data give the very file of one run.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "tare/calibration.hpp"
#include "tare/error.hpp"

namespace tare {
namespace {

std::string named(std::string_view path) {
  return path.empty() ? "the statistics" : fmt::format("statistics '{}'", path);
}
[[noreturn]] void differ(std::string_view path, std::string_view what, std::string_view advice) {
  throw Error(ErrorKind::usage, fmt::format("{} were taken with {}; {}", named(path), what, advice));
}
[[noreturn]] void refuse(std::string_view why) {
  throw Error(ErrorKind::usage, fmt::format("cannot merge statistics: {}", why));
}

/// One run's data: all of it, or one of `count` shards.
struct Part {
  std::string hash;
  std::size_t index = 1;
  std::size_t count = 1;
  friend auto operator<=>(const Part&, const Part&) = default;
};

Part parse_part(std::string_view text) {
  const std::size_t mark = text.find('#');
  const std::size_t slash = text.find('/', std::min(mark, text.size()));
  Part part{std::string(text.substr(0, mark)), 1, 1};
  if (slash == std::string_view::npos) return part;
  const auto read = [&](std::size_t begin, std::size_t end, std::size_t& number) {
    const auto [last, status] = std::from_chars(text.data() + begin, text.data() + end, number);
    return status == std::errc() && last == text.data() + end;
  };
  if (!read(mark + 1, slash, part.index) || !read(slash + 1, text.size(), part.count) || part.index < 1 ||
      part.index > part.count)
    throw Error(ErrorKind::model, fmt::format("statistics: '{}' names no shard of any data", text));
  return part;
}

std::vector<Part> parts_of(std::string_view data) {
  std::vector<Part> parts;
  for (std::size_t begin = 0; begin <= data.size();) {
    const std::size_t end = std::min(data.find('+', begin), data.size());
    parts.push_back(parse_part(data.substr(begin, end - begin)));
    begin = end + 1;
  }
  return parts;
}

std::string name_of(const Part& part) {
  return part.count == 1 ? part.hash : fmt::format("{}#{}/{}", part.hash, part.index, part.count);
}

/// The name of the sum; shards that are all there become the data that they were cut from.
std::string join(std::vector<Part> parts) {
  std::sort(parts.begin(), parts.end());
  std::vector<std::string> names;
  for (auto first = parts.begin(); first != parts.end();) {
    const auto last = std::find_if(first, parts.end(), [&](const Part& part) { return part.hash != first->hash; });
    if (static_cast<std::size_t>(last - first) == first->count)
      names.push_back(first->hash);
    else
      for (auto part = first; part != last; ++part) names.push_back(name_of(*part));
    first = last;
  }
  return fmt::format("{}", fmt::join(names, "+"));
}

bool by_name(const NamedStatistics& a, const NamedStatistics& b) { return a.tensor < b.tensor; }

}  // namespace

void merge(StatisticsFile& into, const StatisticsFile& other) {
  require_same_origin(other.fingerprint, into.fingerprint, {});
  if (into.fingerprint.float_weights != other.fingerprint.float_weights)
    refuse("some were observed with float weights, others with quantized ones");
  std::vector<Part> parts = parts_of(into.fingerprint.data);
  const std::vector<Part> new_parts = parts_of(other.fingerprint.data);
  const bool goes_first = new_parts.front() < parts.front();
  bool same_data = false;  // whose hash stands for its batches, too: they may begin with a smaller one
  for (const Part& added : new_parts) {
    for (const Part& known : parts) {
      if (known.hash != added.hash) continue;
      same_data = true;
      if (known.count != added.count && (known.count == 1 || added.count == 1))
        refuse("some were taken from a shard of data that others were taken from as a whole");
      if (known.count != added.count)
        refuse(fmt::format("the same data is cut into {} and into {} shards, which overlap", known.count, added.count));
      if (known.index == added.index)
        refuse(known.count == 1 ? std::string("two were taken from the same data, which would count twice")
                                : fmt::format("shard {}/{} is there twice", known.index, known.count));
    }
    parts.push_back(added);
  }
  if (!same_data && into.fingerprint.batch_grouping != other.fingerprint.batch_grouping)
    refuse(fmt::format("some are of {}, others of {}; use one batch size for all", into.fingerprint.batch_grouping,
                       other.fingerprint.batch_grouping));
  StatisticsFile sum = into;
  sum.derived.clear();
  std::sort(sum.tensors.begin(), sum.tensors.end(), by_name);
  std::vector<NamedStatistics> added = other.tensors;
  std::sort(added.begin(), added.end(), by_name);
  if (sum.tensors.size() != added.size())
    refuse(fmt::format("some are of {} tensors, others of {}", sum.tensors.size(), added.size()));
  for (std::size_t i = 0; i < added.size(); ++i) {
    if (sum.tensors[i].tensor != added[i].tensor)
      refuse(fmt::format("'{}' is in only one of them", std::min(sum.tensors[i].tensor, added[i].tensor)));
    sum.tensors[i].statistics.merge(added[i].statistics);
  }
  sum.samples += other.samples;
  sum.fingerprint.data = join(std::move(parts));
  if (goes_first) sum.fingerprint.batch_grouping = other.fingerprint.batch_grouping;
  into = std::move(sum);
}

void require_all_shards(const Fingerprint& stored, std::string_view path) {
  std::vector<Part> parts = parts_of(stored.data);
  for (const Part& part : parts) {
    std::vector<std::size_t> missing;
    for (std::size_t index = 1; index <= part.count; ++index)
      if (std::find(parts.begin(), parts.end(), Part{part.hash, index, part.count}) == parts.end())
        missing.push_back(index);
    if (!missing.empty())
      throw Error(
          ErrorKind::usage,
          fmt::format("{} are not of all the data: {} of {} {} missing; give all of them to --from-stats", named(path),
                      missing.size() == 1 ? fmt::format("shard {}", missing[0])
                                          : fmt::format("shards {}", fmt::join(missing, ", ")),
                      part.count, missing.size() == 1 ? "is" : "are"));
  }
}

void require_same_origin(const Fingerprint& stored, const Fingerprint& current, std::string_view path) {
  if (stored.model != current.model) differ(path, "another model", "calibrate this model");
  if (!stored.float_weights && stored.weight_encodings != current.weight_encodings)
    differ(path, "other weight encodings",
           "activations were observed behind quantized weights: give the flags of the weights as they were then "
           "(--param-scheme, --param-type and others), or calibrate again; with --observe-weights float all of them "
           "serve");
}

}  // namespace tare
