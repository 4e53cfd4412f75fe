// .npy and .npz files for callers: reading whole arrays, and writing them as NumPy would.
// Odd: a member's local header is written with room for 64-bit sizes and filled in when the member ends, so that arrays
// are written in one pass whatever their size.
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <set>
#include <system_error>

#include "model/atomic_file.hpp"
#include "run/npy.hpp"
#include "run/zip.hpp"
#include "tare/dataset.hpp"

namespace tare {
namespace {

/// Headers are written again when their members end: into no pipe.
const std::filesystem::path& regular(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored))
    throw Error(ErrorKind::io,
                fmt::format("file '{}': cannot be written: it is no regular file; give another name", path.string()));
  return path;
}

std::span<const std::byte> elements_of(const Tensor& tensor) { return {tensor.data(), tensor.bytes()}; }

void put(std::string& record, std::uint64_t value, std::size_t width) {
  for (std::size_t i = 0; i < width; ++i) record += static_cast<char>((value >> (8 * i)) & 0xffu);
}

struct WrittenMember {
  std::string name;
  std::uint32_t checksum = 0;
  std::uint64_t size = 0, offset = 0;
};

/// What local header and directory have in common: version to extract, flags (names in UTF-8), method, date, checksum,
/// sizes.
std::string common_fields(const WrittenMember& member) {
  std::string record;
  put(record, 45, 2);
  put(record, 1u << 11, 2);
  put(record, 0, 2);                        // stored
  put(record, (1u << 21) | (1u << 16), 4);  // 1 January 1980: the same data gives the same bytes
  put(record, member.checksum, 4);
  put(record, 0xffffffff, 4);
  put(record, 0xffffffff, 4);
  put(record, member.name.size(), 2);
  return record;
}

}  // namespace

Tensor read_npy(const std::filesystem::path& path) {
  const NpyReader array(open_file(path));
  return array.read(array.type());
}

void write_npy(const std::filesystem::path& path, const Tensor& tensor) {
  const std::string header = npy_header(tensor.type(), tensor.shape(), path.filename().string());
  AtomicFile file(regular(path));
  file.write(header);
  file.write(elements_of(tensor));
  file.commit();
}

struct NpzFile::State {
  explicit State(const std::filesystem::path& path) : archive(path) {
    for (const ZipMember& member : archive.members()) keys.emplace_back(member.key());
  }
  NpyReader open(std::string_view key) const {
    const auto it = std::find(keys.begin(), keys.end(), key);
    if (it == keys.end()) throw Error(ErrorKind::data, fmt::format("{}: no key '{}'", archive.name(), key));
    return NpyReader(archive.open(archive.members()[static_cast<std::size_t>(it - keys.begin())]));
  }

  ZipArchive archive;
  std::vector<std::string> keys;
};

NpzFile::NpzFile(const std::filesystem::path& path) : state_(std::make_unique<State>(path)) {}
NpzFile::NpzFile(NpzFile&&) noexcept = default;
NpzFile& NpzFile::operator=(NpzFile&&) noexcept = default;
NpzFile::~NpzFile() = default;

const std::vector<std::string>& NpzFile::keys() const { return state_->keys; }
bool NpzFile::has(std::string_view key) const {
  return std::find(state_->keys.begin(), state_->keys.end(), key) != state_->keys.end();
}
Shape NpzFile::shape(std::string_view key) const { return state_->open(key).shape(); }
DataType NpzFile::type(std::string_view key) const { return state_->open(key).type(); }
Tensor NpzFile::read(std::string_view key) const {
  const NpyReader array = state_->open(key);
  return array.read(array.type());
}

struct NpzWriter::State {
  explicit State(const std::filesystem::path& path) : file(regular(path)) {}

  void write_local_header(const WrittenMember& member) {
    std::string record;
    put(record, 0x04034b50, 4);
    record += common_fields(member);
    put(record, 20, 2);
    record += member.name;
    put(record, 1, 2);
    put(record, 16, 2);
    put(record, member.size, 8);
    put(record, member.size, 8);
    const auto bytes = std::as_bytes(std::span(record));
    if (member.offset == file.bytes_written())
      file.write(bytes);
    else
      file.write_at(member.offset, bytes);
  }

  void begin(std::string_view key, DataType type, const Shape& shape) {
    if (open)
      throw Error(ErrorKind::internal, fmt::format("NpzWriter: '{}' begins before '{}' ended", key, open->name));
    const std::string header = npy_header(type, shape, key);
    WrittenMember member;
    member.name = std::string(key) + ".npy";
    if (member.name.size() > 0xffff)
      throw Error(ErrorKind::unsupported,
                  fmt::format("the name '{}…' of {} bytes is too long for a key of an .npz file", key.substr(0, 100),
                              key.size()));
    if (!names.insert(member.name).second)
      throw Error(ErrorKind::internal, fmt::format("NpzWriter: key '{}' is taken", key));
    member.checksum = static_cast<std::uint32_t>(::crc32(0, nullptr, 0));
    member.offset = file.bytes_written();
    expected = header.size() + static_cast<std::uint64_t>(shape.elements()) * size_of(type);
    open = std::move(member);
    write_local_header(*open);
    append(std::as_bytes(std::span(header)));
  }

  void append(std::span<const std::byte> bytes) {
    if (!open) throw Error(ErrorKind::internal, "NpzWriter: append() before begin()");
    while (!bytes.empty()) {
      const auto piece = bytes.first(std::min<std::size_t>(bytes.size(), 1u << 30));
      open->checksum = static_cast<std::uint32_t>(
          ::crc32(open->checksum, reinterpret_cast<const Bytef*>(piece.data()), static_cast<uInt>(piece.size())));
      open->size += piece.size();
      file.write(piece);
      bytes = bytes.subspan(piece.size());
    }
  }

  void end() {
    if (!open) throw Error(ErrorKind::internal, "NpzWriter: end() before begin()");
    if (open->size != expected)
      throw Error(ErrorKind::internal,
                  fmt::format("NpzWriter: '{}' has {} bytes, its shape says {}", open->name, open->size, expected));
    write_local_header(*open);
    written.push_back(std::move(*open));
    open.reset();
  }

  void commit() {
    if (open) throw Error(ErrorKind::internal, fmt::format("NpzWriter: '{}' has not ended", open->name));
    const std::uint64_t start = file.bytes_written();
    for (const WrittenMember& member : written) {
      std::string record;
      put(record, 0x02014b50, 4);
      put(record, (3u << 8) | 45, 2);
      record += common_fields(member);
      put(record, 28, 2);         // extra field
      put(record, 0, 2 + 2 + 2);  // comment, disk, internal attributes
      put(record, 0100644u << 16, 4);
      put(record, 0xffffffff, 4);
      record += member.name;
      put(record, 1, 2);
      put(record, 24, 2);
      put(record, member.size, 8);
      put(record, member.size, 8);
      put(record, member.offset, 8);
      file.write(record);
    }
    const std::uint64_t end_of_directory = file.bytes_written();
    std::string record;
    put(record, 0x06064b50, 4);
    put(record, 44, 8);
    put(record, (3u << 8) | 45, 2);
    put(record, 45, 2);
    put(record, 0, 4 + 4);
    put(record, written.size(), 8);
    put(record, written.size(), 8);
    put(record, end_of_directory - start, 8);
    put(record, start, 8);
    put(record, 0x07064b50, 4);
    put(record, 0, 4);
    put(record, end_of_directory, 8);
    put(record, 1, 4);
    put(record, 0x06054b50, 4);
    put(record, 0, 4);
    put(record, std::min<std::uint64_t>(written.size(), 0xffff), 2);
    put(record, std::min<std::uint64_t>(written.size(), 0xffff), 2);
    put(record, 0xffffffff, 4);
    put(record, 0xffffffff, 4);
    put(record, 0, 2);
    file.write(record);
    file.commit();
  }

  AtomicFile file;
  std::set<std::string> names;
  std::vector<WrittenMember> written;
  std::optional<WrittenMember> open;
  std::uint64_t expected = 0;
};

NpzWriter::NpzWriter(const std::filesystem::path& path) : state_(std::make_unique<State>(path)) {}
NpzWriter::NpzWriter(NpzWriter&&) noexcept = default;
NpzWriter& NpzWriter::operator=(NpzWriter&&) noexcept = default;
NpzWriter::~NpzWriter() = default;

void NpzWriter::add(std::string_view key, const Tensor& tensor) {
  begin(key, tensor.type(), tensor.shape());
  append(elements_of(tensor));
  end();
}
void NpzWriter::begin(std::string_view key, DataType type, const Shape& shape) { state_->begin(key, type, shape); }
void NpzWriter::append(std::span<const std::byte> elements) { state_->append(elements); }
void NpzWriter::end() { state_->end(); }
void NpzWriter::commit() { state_->commit(); }

}  // namespace tare
