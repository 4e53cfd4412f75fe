// Zip archives. See zip.hpp; field offsets are those of PKWARE's APPNOTE 6.3.
#include "run/zip.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <limits>
#include <set>

#include "tare/error.hpp"

namespace tare {
namespace {

[[noreturn]] void damaged(const std::string& name, const std::string& what) {
  throw Error(ErrorKind::data, fmt::format("{}: {}; the archive is damaged or not an .npz file", name, what));
}

std::uint64_t field(std::span<const std::byte> bytes, std::size_t offset, std::size_t width) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < width; ++i) value |= static_cast<std::uint64_t>(bytes[offset + i]) << (8 * i);
  return value;
}

struct Directory {
  std::uint64_t offset = 0, size = 0, entries = 0;
};

constexpr std::size_t end_record_size = 22;

/// Looks for the end record from the back: a comment of up to 65,535 bytes may follow it.
Directory find_directory(ByteSource& file) {
  const std::uint64_t size = file.size();
  if (size < end_record_size) damaged(file.name(), fmt::format("only {} bytes long", size));
  std::vector<std::byte> tail(static_cast<std::size_t>(std::min<std::uint64_t>(size, end_record_size + 0xffff)));
  const std::uint64_t tail_offset = size - tail.size();
  file.read(tail_offset, tail);
  for (std::size_t at = tail.size() - end_record_size + 1; at-- > 0;) {
    if (field(tail, at, 4) != 0x06054b50 || at + end_record_size + field(tail, at + 20, 2) != tail.size()) continue;
    Directory found{field(tail, at + 16, 4), field(tail, at + 12, 4), field(tail, at + 10, 2)};
    if (field(tail, at + 4, 2) != 0 && field(tail, at + 4, 2) != 0xffff) damaged(file.name(), "one of several volumes");
    if (found.offset == 0xffffffff || found.size == 0xffffffff || found.entries == 0xffff) {
      const std::uint64_t end_offset = tail_offset + at;
      std::array<std::byte, 20> locator;
      if (end_offset < locator.size()) damaged(file.name(), "no zip64 locator");
      file.read(end_offset - locator.size(), locator);
      if (field(locator, 0, 4) == 0x07064b50) {
        const std::uint64_t record_offset = field(locator, 8, 8);
        std::array<std::byte, 56> record;
        if (record_offset > size || size - record_offset < record.size()) damaged(file.name(), "zip64 record outside");
        file.read(record_offset, record);
        if (field(record, 0, 4) != 0x06064b50) damaged(file.name(), "no zip64 end record");
        found = {field(record, 48, 8), field(record, 40, 8), field(record, 32, 8)};
      }
    }
    if (found.offset > size || found.size > size - found.offset) damaged(file.name(), "directory outside the file");
    if (found.entries > found.size / 46) damaged(file.name(), "directory shorter than its entries");
    return found;
  }
  damaged(file.name(), "no end record found");
}

/// Sizes of 0xffffffff stand in the zip64 extra field, in a fixed order.
void read_zip64(std::span<const std::byte> extra, ZipMember& member, const std::string& name) {
  for (std::size_t at = 0; at + 4 <= extra.size();) {
    const std::size_t id = field(extra, at, 2), length = field(extra, at + 2, 2);
    at += 4;
    if (length > extra.size() - at) return;
    if (id == 1) {
      std::size_t next = at;
      for (std::uint64_t* value : {&member.size, &member.packed_size, &member.header_offset}) {
        if (*value != 0xffffffff) continue;
        if (next + 8 > at + length) damaged(name, fmt::format("short zip64 field of member '{}'", member.name));
        *value = field(extra, next, 8);
        next += 8;
      }
    }
    at += length;
  }
}

void locate_data(ByteSource& file, ZipMember& member) {
  std::array<std::byte, 30> header;
  const std::uint64_t size = file.size();
  if (member.header_offset > size || size - member.header_offset < header.size())
    damaged(file.name(), fmt::format("member '{}' lies outside", member.name));
  file.read(member.header_offset, header);
  if (field(header, 0, 4) != 0x04034b50) damaged(file.name(), fmt::format("member '{}' has no header", member.name));
  if (field(header, 8, 2) != member.method)
    damaged(file.name(), fmt::format("member '{}' is described in two ways", member.name));
  member.data_offset = member.header_offset + header.size() + field(header, 26, 2) + field(header, 28, 2);
  if (member.data_offset > size || member.packed_size > size - member.data_offset)
    damaged(file.name(), fmt::format("member '{}' is cut off", member.name));
}

/// Deflate expands at most 1032 times, and stored members not at all.
void check_sizes(const std::string& name, const ZipMember& member) {
  const bool possible =
      member.method == 0 ? member.size == member.packed_size : member.size / 1032 <= member.packed_size + 1;
  if (!possible)
    damaged(name, fmt::format("member '{}' claims {} bytes out of {}", member.name, member.size, member.packed_size));
}

/// The checksum of what has been seen from the start without a gap; passages seen before are not counted again.
class Checksum {
 public:
  void pass(std::uint64_t offset, std::span<const std::byte> bytes) {
    if (offset > covered_ || bytes.size() <= covered_ - offset) return;
    for (auto rest = bytes.subspan(static_cast<std::size_t>(covered_ - offset)); !rest.empty();) {
      const auto piece = rest.first(std::min<std::size_t>(rest.size(), 1u << 30));
      value_ = ::crc32(value_, reinterpret_cast<const Bytef*>(piece.data()), static_cast<uInt>(piece.size()));
      covered_ += piece.size();
      rest = rest.subspan(piece.size());
    }
  }
  bool wrong(const ZipMember& member) const { return covered_ == member.size && value_ != member.checksum; }

 private:
  std::uint64_t covered_ = 0;
  uLong value_ = 0;
};

class MemberReader : public ByteSource {
 public:
  MemberReader(std::shared_ptr<ByteSource> file, const ZipMember& member)
      : file_(std::move(file)), member_(member), name_(fmt::format("{}, member '{}'", file_->name(), member.name)) {}
  std::uint64_t size() const override { return member_.size; }
  const std::string& name() const override { return name_; }
  void rest() override { file_->rest(); }

  void read(std::uint64_t offset, std::span<std::byte> into) override {
    if (offset > member_.size || into.size() > member_.size - offset) damaged(name_, "read past its end");
    fill(offset, into);
    if (checksum_.wrong(member_)) damaged(name_, "checksum is wrong");
  }

 protected:
  virtual void fill(std::uint64_t offset, std::span<std::byte> into) = 0;

  std::shared_ptr<ByteSource> file_;
  ZipMember member_;
  std::string name_;
  Checksum checksum_;
};

class StoredReader final : public MemberReader {
  using MemberReader::MemberReader;
  void fill(std::uint64_t offset, std::span<std::byte> into) override {
    file_->read(member_.data_offset + offset, into);
    checksum_.pass(offset, into);
  }
};

/// What inflating needs is 300 KiB, and an archive may have thousands of members: it is held only between the first and
/// the last byte read.
struct Inflater {
  Inflater() : packed(std::size_t{256} << 10) {
    if (::inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw Error(ErrorKind::internal, "zlib: inflateInit2 failed");
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  ~Inflater() { ::inflateEnd(&stream); }

  z_stream stream{};
  std::vector<std::byte> packed;
  std::uint64_t position = 0, consumed = 0;
};

class InflatingReader final : public MemberReader {
 public:
  using MemberReader::MemberReader;
  void rest() override {
    inflater_.reset();
    MemberReader::rest();
  }

 private:
  void fill(std::uint64_t offset, std::span<std::byte> into) override {
    if (!inflater_ || offset < inflater_->position) inflater_ = std::make_unique<Inflater>();
    std::array<std::byte, 1 << 14> skipped;
    while (inflater_->position < offset)
      inflate_into(std::span(skipped).first(
          static_cast<std::size_t>(std::min<std::uint64_t>(skipped.size(), offset - inflater_->position))));
    inflate_into(into);
    if (inflater_->position == member_.size) inflater_.reset();
  }

  void inflate_into(std::span<std::byte> into) {
    z_stream& stream = inflater_->stream;
    while (!into.empty()) {
      if (stream.avail_in == 0 && inflater_->consumed < member_.packed_size) {
        const auto piece = std::span(inflater_->packed)
                               .first(static_cast<std::size_t>(std::min<std::uint64_t>(
                                   inflater_->packed.size(), member_.packed_size - inflater_->consumed)));
        file_->read(member_.data_offset + inflater_->consumed, piece);
        inflater_->consumed += piece.size();
        stream.next_in = reinterpret_cast<Bytef*>(piece.data());
        stream.avail_in = static_cast<uInt>(piece.size());
      }
      const std::size_t room = std::min<std::size_t>(into.size(), 1u << 30);
      stream.next_out = reinterpret_cast<Bytef*>(into.data());
      stream.avail_out = static_cast<uInt>(room);
      const int status = ::inflate(&stream, Z_NO_FLUSH);
      const std::size_t made = room - stream.avail_out;
      checksum_.pass(inflater_->position, into.first(made));
      inflater_->position += made;
      into = into.subspan(made);
      if (into.empty()) return;
      if (status == Z_STREAM_END)
        damaged(name_, fmt::format("ends after {} of {} bytes", inflater_->position, member_.size));
      if (status != Z_OK && status != Z_BUF_ERROR)
        damaged(name_, fmt::format("cannot be inflated ({})", stream.msg == nullptr ? "zlib" : stream.msg));
      if (made == 0 && stream.avail_in == 0 && inflater_->consumed == member_.packed_size)
        damaged(name_, "compressed data is cut off");
    }
  }

  std::unique_ptr<Inflater> inflater_;
};

}  // namespace

ZipArchive::ZipArchive(const std::filesystem::path& path) : file_(open_file(path)) {
  const Directory directory = find_directory(*file_);
  if (directory.size > (std::uint64_t{1} << 30)) damaged(name(), "directory of more than 1 GiB");
  std::vector<std::byte> bytes(static_cast<std::size_t>(directory.size));
  file_->read(directory.offset, bytes);
  std::set<std::string> keys;
  std::size_t at = 0;
  for (std::uint64_t i = 0; i < directory.entries; ++i) {
    if (bytes.size() - at < 46 || field(bytes, at, 4) != 0x02014b50) damaged(name(), "directory entry missing");
    ZipMember member;
    const std::size_t name_length = field(bytes, at + 28, 2), extra_length = field(bytes, at + 30, 2);
    const std::size_t length = 46 + name_length + extra_length + field(bytes, at + 32, 2);
    if (length > bytes.size() - at) damaged(name(), "directory entry cut off");
    member.name.assign(reinterpret_cast<const char*>(bytes.data() + at + 46), name_length);
    member.method = static_cast<std::uint16_t>(field(bytes, at + 10, 2));
    member.checksum = static_cast<std::uint32_t>(field(bytes, at + 16, 4));
    member.packed_size = field(bytes, at + 20, 4);
    member.size = field(bytes, at + 24, 4);
    member.header_offset = field(bytes, at + 42, 4);
    read_zip64(std::span(bytes).subspan(at + 46 + name_length, extra_length), member, name());
    if ((field(bytes, at + 8, 2) & 1u) != 0) damaged(name(), fmt::format("member '{}' is encrypted", member.name));
    if (member.method != 0 && member.method != 8)
      throw Error(ErrorKind::data, fmt::format("{}, member '{}': compression method {} is not supported; save it with "
                                               "numpy.savez or numpy.savez_compressed",
                                               name(), member.name, member.method));
    if (!keys.emplace(member.key()).second)
      throw Error(ErrorKind::data,
                  fmt::format("{}: key '{}' is there twice (the second time as member '{}'); save every "
                              "array once",
                              name(), member.key(), member.name));
    locate_data(*file_, member);
    check_sizes(name(), member);
    members_.push_back(std::move(member));
    at += length;
  }
  std::vector<const ZipMember*> order;
  for (const ZipMember& member : members_) order.push_back(&member);
  std::sort(order.begin(), order.end(),
            [](const ZipMember* a, const ZipMember* b) { return a->header_offset < b->header_offset; });
  for (std::size_t i = 0; i + 1 < order.size(); ++i)
    if (order[i]->data_offset + order[i]->packed_size > order[i + 1]->header_offset)
      damaged(name(), fmt::format("members '{}' and '{}' overlap", order[i]->name, order[i + 1]->name));
}

std::shared_ptr<ByteSource> ZipArchive::open(const ZipMember& member) const {
  if (member.method == 0) return std::make_shared<StoredReader>(file_, member);
  return std::make_shared<InflatingReader>(file_, member);
}

}  // namespace tare
