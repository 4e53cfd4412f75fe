// A regular file mapped into memory, copy-on-write: a kernel that takes over a constant's storage writes to its own
// pages, never to the file.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace tare {

class MappedFile {
 public:
  /// Throws Error(io) when the file is missing, unreadable or no regular file.
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

}  // namespace tare
