// Bytes that are read by position: files, members of archives, memory. Files are read with pread, never mapped: a file
// that shrinks while it is read then gives an Error, not a signal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace tare {

/// A source of bytes. `read` may restart a decompressor when it goes backwards: ascending offsets are the fast way.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual std::uint64_t size() const = 0;
  /// Fills all of `into`; throws Error(data) naming the source when it cannot.
  virtual void read(std::uint64_t offset, std::span<std::byte> into) = 0;
  /// Gives back working memory and closes files until the next read.
  virtual void rest() {}
  /// "file 'x.npz', key 'a'" for messages.
  virtual const std::string& name() const = 0;
};

/// A regular file opened for reading. Throws Error(io) when it cannot be opened.
std::shared_ptr<ByteSource> open_file(const std::filesystem::path& path);
std::shared_ptr<ByteSource> bytes_of(std::string name, std::string_view contents);

/// Whole small text file. Throws Error(io), or Error(data) above `limit` bytes.
std::string read_text(const std::filesystem::path& path, std::uint64_t limit = std::uint64_t{64} << 20);
/// The same of a file that people write. Throws Error(data), which ends with what it should be, for a binary one.
std::string read_plain_text(const std::filesystem::path& path, std::string_view expected);

/// 64-bit FNV-1a, continued from `hash`.
inline constexpr std::uint64_t hash_start = 0xcbf29ce484222325u;
std::uint64_t hash_bytes(std::span<const std::byte> bytes, std::uint64_t hash);
std::uint64_t hash_text(std::string_view text, std::uint64_t hash);
std::uint64_t hash_number(std::uint64_t number, std::uint64_t hash);
/// Size, and up to 64 blocks of 4 KiB spread over the source: all of it up to 256 KiB.
std::uint64_t hash_spots(ByteSource& source, std::uint64_t hash);

}  // namespace tare
