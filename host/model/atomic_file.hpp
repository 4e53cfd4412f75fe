// A file that appears whole or not at all: written under a temporary name in the same folder, flushed to disk, renamed.
// Odd: a destination that is no regular file (a pipe, /dev/stdout) is written directly; there is nothing to rename
// over.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace tare {

class AtomicFile {
 public:
  /// Creates the temporary file. Throws Error(io) when the folder is missing, read-only or full.
  explicit AtomicFile(std::filesystem::path path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  /// Removes the temporary file unless commit() was reached.
  ~AtomicFile();

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
  /// Over what has been written; not where the file is written directly.
  void write_at(std::size_t offset, std::span<const std::byte> bytes);
  /// Flushes and moves the file to its name. Nothing may be written afterwards.
  void commit() { commit_all(std::array{this}); }
  /// The same for files that belong together: all of them or none.
  static void commit_all(std::span<AtomicFile* const> files);

  std::size_t bytes_written() const { return written_; }

 private:
  void flush();
  [[noreturn]] void fail(std::string_view what, int error) const;
  void close_and_remove() noexcept;

  std::filesystem::path path_;
  std::filesystem::path temporary_;  ///< empty when written directly
  int descriptor_ = -1;
  std::size_t written_ = 0;
};

/// What to do when writing failed with this errno.
std::string_view write_advice(int error);

struct Move {
  std::filesystem::path from;
  std::filesystem::path to;
};
/// Moves every file to its name, or none: when one cannot be moved, those before it are taken back and what they had
/// replaced is there again. Throws Error(io) naming the one.
void move_all(std::span<const Move> moves);

void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);
/// The callback writes piece by piece; when it throws, nothing is left behind.
void write_file_atomically(const std::filesystem::path& path, const std::function<void(AtomicFile&)>& write);

}  // namespace tare
