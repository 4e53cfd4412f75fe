// .stats files: magic, format version, fingerprint, one record a tensor, CRC-32 of all before it. Little-endian; counts
// and gaps between bins as variable-length integers, so a thousand tensors take a few MB. Odd: nothing in a file is
// trusted: every length is checked against the bytes that are left, every sum against its parts.
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <span>
#include <string>

#include "model/atomic_file.hpp"
#include "run/bytes.hpp"
#include "tare/calibration.hpp"
#include "tare/error.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

constexpr std::string_view magic = "TARESTAT";
constexpr std::uint32_t format_version = 1;

class Writer {
 public:
  void fixed32(std::uint32_t value) {
    for (int shift = 0; shift < 32; shift += 8) bytes_.push_back(static_cast<char>((value >> shift) & 0xffu));
  }
  void number(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>((value & 0x7fu) | 0x80u));
    bytes_.push_back(static_cast<char>(value));
  }
  void text(std::string_view text) {
    number(text.size());
    bytes_ += text;
  }
  void raw(std::string_view text) { bytes_ += text; }
  std::string& bytes() { return bytes_; }

 private:
  std::string bytes_;
};

class Reader {
 public:
  Reader(std::string_view bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  std::uint32_t fixed32() {
    std::uint32_t value = 0;
    for (int shift = 0; shift < 32; shift += 8) value |= static_cast<std::uint32_t>(byte()) << shift;
    return value;
  }
  std::uint64_t number() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const std::uint64_t part = byte();
      if (shift == 63 && part > 1) fail("a number is too large");
      value |= (part & 0x7fu) << shift;
      if (part < 0x80) return value;
    }
    fail("a number is too long");
  }
  std::string text() {
    const std::uint64_t size = number();
    if (size > left()) fail("a name is longer than the file");
    std::string text(bytes_.substr(position_, static_cast<std::size_t>(size)));
    position_ += static_cast<std::size_t>(size);
    return text;
  }
  std::size_t left() const { return bytes_.size() - position_; }
  [[noreturn]] void fail(std::string_view what) const {
    throw Error(ErrorKind::model, fmt::format("statistics file '{}' is damaged: {} (at byte {}); calibrate again",
                                              path_, what, position_));
  }

 private:
  std::uint8_t byte() {
    if (position_ >= bytes_.size()) fail("it ends too early");
    return static_cast<std::uint8_t>(bytes_[position_++]);
  }

  std::string_view bytes_;
  const std::string& path_;
  std::size_t position_ = 0;
};

std::uint32_t checksum(std::string_view bytes) {
  uLong crc = crc32(0, nullptr, 0);
  while (!bytes.empty()) {  // zlib takes 32-bit lengths
    const std::size_t part = std::min<std::size_t>(bytes.size(), std::size_t{1} << 30);
    crc = crc32(crc, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(part));
    bytes.remove_prefix(part);
  }
  return static_cast<std::uint32_t>(crc);
}

void write_statistics(Writer& writer, const TensorStatistics& statistics) {
  writer.number(statistics.count);
  writer.number(statistics.nan_count);
  writer.number(statistics.positive_infinity_count);
  writer.number(statistics.negative_infinity_count);
  writer.number(statistics.zero_count);
  writer.number(statistics.min_count);
  writer.number(statistics.max_count);
  writer.fixed32(bits_of(statistics.min == 0 ? 0.0f : statistics.min));
  writer.fixed32(bits_of(statistics.max == 0 ? 0.0f : statistics.max));
  writer.number(statistics.bins.size());
  std::uint32_t next = 0;
  for (const auto& [bin, count] : statistics.bins) {
    writer.number(bin - next);
    writer.number(count);
    next = bin + 1;
  }
}

TensorStatistics read_statistics(Reader& reader) {
  TensorStatistics statistics;
  statistics.count = reader.number();
  statistics.nan_count = reader.number();
  statistics.positive_infinity_count = reader.number();
  statistics.negative_infinity_count = reader.number();
  statistics.zero_count = reader.number();
  statistics.min_count = reader.number();
  statistics.max_count = reader.number();
  statistics.min = float_of(reader.fixed32());
  statistics.max = float_of(reader.fixed32());
  const std::uint64_t bins = reader.number();
  if (bins > histogram_bin_count || bins > reader.left()) reader.fail("a histogram has too many bins");
  statistics.bins.reserve(static_cast<std::size_t>(bins));
  std::uint64_t next = 0;
  std::uint64_t unaccounted = statistics.count;
  const auto account = [&](std::uint64_t part) {
    if (part > unaccounted) reader.fail("counts exceed the number of elements");
    unaccounted -= part;
  };
  account(statistics.nan_count);
  account(statistics.positive_infinity_count);
  account(statistics.negative_infinity_count);
  const std::uint64_t finite = unaccounted;
  account(statistics.zero_count);
  for (std::uint64_t i = 0; i < bins; ++i) {
    const std::uint64_t gap = reader.number();
    if (gap >= histogram_bin_count || next + gap >= histogram_bin_count)
      reader.fail("a bin lies outside the histogram");
    const std::uint32_t bin = static_cast<std::uint32_t>(next + gap);
    const std::uint64_t count = reader.number();
    if (count == 0) reader.fail("an empty bin is stored");
    account(count);
    statistics.bins.emplace_back(bin, count);
    next = bin + std::uint64_t{1};
  }
  if (bins > 0 && unaccounted != 0) reader.fail("counts do not add up to the number of elements");
  if (statistics.min_count > finite || statistics.max_count > finite)
    reader.fail("extremes occur more often than values");
  if (finite == 0) {
    if (statistics.min != std::numeric_limits<float>::infinity() ||
        statistics.max != -std::numeric_limits<float>::infinity())
      reader.fail("extremes of no values");
    return statistics;
  }
  if (!std::isfinite(statistics.min) || !std::isfinite(statistics.max) || statistics.min > statistics.max)
    reader.fail("minimum and maximum are no range");
  if (bins > 0) {
    const auto bin_of = [](float value) { return histogram_bin(bits_of(value)); };
    if ((statistics.min < 0 && bin_of(statistics.min) != statistics.bins.front().first) ||
        (statistics.max > 0 && bin_of(statistics.max) != statistics.bins.back().first))
      reader.fail("minimum or maximum lies outside the outermost bins");
  }
  return statistics;
}

std::string read_file(const std::string& path) {
  const std::shared_ptr<ByteSource> file = open_file(path);
  std::string bytes(file->size(), '\0');
  file->read(0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

bool by_name(const NamedStatistics& a, const NamedStatistics& b) { return a.tensor < b.tensor; }

}  // namespace

void save_statistics(const std::string& path, const StatisticsFile& file) {
  std::vector<const NamedStatistics*> sorted;
  for (const NamedStatistics& named : file.tensors) {
    if (named.statistics.tf_enhanced)
      throw Error(ErrorKind::usage,
                  fmt::format("statistics of '{}' hold a tf_enhanced histogram, which depends on the order of "
                              "the batches: they cannot be saved",
                              named.tensor));
    sorted.push_back(&named);
  }
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) { return by_name(*a, *b); });
  Writer writer;
  writer.raw(magic);
  writer.fixed32(format_version);
  writer.text(file.fingerprint.tare_version);
  writer.text(file.fingerprint.model);
  writer.text(file.fingerprint.data);
  writer.text(file.fingerprint.batch_grouping);
  writer.text(file.fingerprint.weight_encodings);
  writer.number(file.fingerprint.float_weights ? 1 : 0);
  writer.number(file.samples);
  writer.number(sorted.size());
  for (const NamedStatistics* named : sorted) {
    writer.text(named->tensor);
    write_statistics(writer, named->statistics);
  }
  writer.fixed32(checksum(writer.bytes()));
  write_file_atomically(path, writer.bytes());
}

StatisticsFile load_statistics(const std::string& path) {
  const std::string bytes = read_file(path);
  if (!std::string_view(bytes).starts_with(magic))
    throw Error(ErrorKind::model, fmt::format("'{}' is not a statistics file of tare", path));
  Reader header(std::string_view(bytes).substr(magic.size()), path);
  const std::uint32_t version = header.fixed32();
  if (version != format_version)
    throw Error(ErrorKind::model,
                fmt::format("statistics file '{}' has format version {}, this tare reads {}; calibrate again", path,
                            version, format_version));
  if (header.left() < 4) header.fail("it ends too early");
  const std::string_view body(bytes.data(), bytes.size() - 4);
  if (Reader(std::string_view(bytes).substr(body.size()), path).fixed32() != checksum(body))
    header.fail("its checksum does not match");

  Reader reader(body.substr(magic.size() + 4), path);
  StatisticsFile file;
  file.fingerprint.tare_version = reader.text();
  file.fingerprint.model = reader.text();
  file.fingerprint.data = reader.text();
  file.fingerprint.batch_grouping = reader.text();
  file.fingerprint.weight_encodings = reader.text();
  const std::uint64_t float_weights = reader.number();
  if (float_weights > 1) reader.fail("a flag is neither 0 nor 1");
  file.fingerprint.float_weights = float_weights == 1;
  file.samples = reader.number();
  const std::uint64_t tensors = reader.number();
  if (tensors > reader.left()) reader.fail("it announces more tensors than it can hold");
  for (std::uint64_t i = 0; i < tensors; ++i) {
    NamedStatistics named{reader.text(), {}};
    if (!file.tensors.empty() && !by_name(file.tensors.back(), named)) reader.fail("tensors are not in order");
    named.statistics = read_statistics(reader);
    file.tensors.push_back(std::move(named));
  }
  if (reader.left() != 0) reader.fail("it goes on after its last tensor");
  return file;
}

}  // namespace tare
