// Files, memory and the hash of their contents. See bytes.hpp.
#include "run/bytes.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "tare/error.hpp"

namespace tare {
namespace {

class File final : public ByteSource {
 public:
  explicit File(const std::filesystem::path& path) : path_(path), name_(fmt::format("file '{}'", path.string())) {
    size_ = open();
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() override { rest(); }

  void rest() override {
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  }

  std::uint64_t size() const override { return size_; }
  const std::string& name() const override { return name_; }

  void read(std::uint64_t offset, std::span<std::byte> into) override {
    if (descriptor_ < 0 && open() != size_)
      throw Error(ErrorKind::data, fmt::format("{}: has changed while it was in use; run again", name_));
    while (!into.empty()) {
      const ssize_t count = ::pread(descriptor_, into.data(), into.size(), static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw Error(ErrorKind::io, fmt::format("{}: cannot be read: {}", name_, std::strerror(errno)));
      if (count == 0) throw Error(ErrorKind::data, fmt::format("{}: ends early, at byte {}", name_, offset));
      offset += static_cast<std::uint64_t>(count);
      into = into.subspan(static_cast<std::size_t>(count));
    }
  }

 private:
  /// The size that the file has.
  std::uint64_t open() {
    descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor_ < 0)
      throw Error(ErrorKind::io, fmt::format("{}: cannot be opened: {}; check the path and its permissions", name_,
                                             std::strerror(errno)));
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
      rest();
      throw Error(ErrorKind::io, fmt::format("{}: is no regular file; copy its contents into one", name_));
    }
    return static_cast<std::uint64_t>(status.st_size);
  }

  std::filesystem::path path_;
  std::string name_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

class Memory final : public ByteSource {
 public:
  Memory(std::string name, std::string_view contents) : name_(std::move(name)), contents_(contents) {}
  std::uint64_t size() const override { return contents_.size(); }
  const std::string& name() const override { return name_; }
  void read(std::uint64_t offset, std::span<std::byte> into) override {
    if (offset > contents_.size() || into.size() > contents_.size() - offset)
      throw Error(ErrorKind::data, fmt::format("{}: ends early, at byte {}", name_, contents_.size()));
    if (!into.empty()) std::memcpy(into.data(), contents_.data() + offset, into.size());
  }

 private:
  std::string name_;
  std::string contents_;
};

}  // namespace

std::shared_ptr<ByteSource> open_file(const std::filesystem::path& path) { return std::make_shared<File>(path); }

std::shared_ptr<ByteSource> bytes_of(std::string name, std::string_view contents) {
  return std::make_shared<Memory>(std::move(name), contents);
}

std::string read_text(const std::filesystem::path& path, std::uint64_t limit) {
  const auto file = open_file(path);
  if (file->size() > limit)
    throw Error(ErrorKind::data,
                fmt::format("{}: is {} bytes long; at most {} are read as text", file->name(), file->size(), limit));
  std::string text(static_cast<std::size_t>(file->size()), '\0');
  file->read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

std::string read_plain_text(const std::filesystem::path& path, std::string_view expected) {
  std::string text = read_text(path);
  if (text.find('\0') != std::string::npos)
    throw Error(ErrorKind::data, fmt::format("file '{}': is binary, no text; {}", path.string(), expected));
  return text;
}

std::uint64_t hash_bytes(std::span<const std::byte> bytes, std::uint64_t hash) {
  for (const std::byte byte : bytes) hash = (hash ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3u;
  return hash;
}

std::uint64_t hash_text(std::string_view text, std::uint64_t hash) {
  return hash_number(text.size(), hash_bytes(std::as_bytes(std::span(text)), hash));
}

std::uint64_t hash_number(std::uint64_t number, std::uint64_t hash) {
  for (int shift = 0; shift < 64; shift += 8) hash = (hash ^ ((number >> shift) & 0xffu)) * 0x100000001b3u;
  return hash;
}

std::uint64_t hash_spots(ByteSource& source, std::uint64_t hash) {
  constexpr std::uint64_t block = 4096, blocks = 64;
  const std::uint64_t size = source.size();
  hash = hash_number(size, hash);
  std::array<std::byte, block> bytes;
  const std::uint64_t count = std::min(blocks, (size + block - 1) / block);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t last = size > block ? size - block : 0;
    const std::uint64_t offset = size <= block * blocks ? i * block : last / (blocks - 1) * i;
    const auto piece = std::span(bytes).first(static_cast<std::size_t>(std::min(block, size - offset)));
    source.read(offset, piece);
    hash = hash_bytes(piece, hash);
  }
  return hash;
}

}  // namespace tare
