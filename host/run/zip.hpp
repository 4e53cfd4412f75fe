// The members of a zip archive, read by position: stored or deflated, zip64 included. Everything the archive claims is
// checked against the file first: offsets, lengths, overlaps and how far deflate can expand, so that a hostile archive
// costs an Error and no memory; keys are there once. Odd: a member's checksum is verified when a reader has passed over
// all of it from the start, not on every seek.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "run/bytes.hpp"

namespace tare {

struct ZipMember {
  /// Of the array, as NumPy has it: the name without ".npy".
  std::string_view key() const {
    const std::string_view all = name;
    return all.substr(0, all.size() - (all.ends_with(".npy") ? 4 : 0));
  }

  std::string name;
  std::uint16_t method = 0;  ///< 0 stored, 8 deflated
  std::uint32_t checksum = 0;
  std::uint64_t packed_size = 0;
  std::uint64_t size = 0;
  std::uint64_t header_offset = 0;
  std::uint64_t data_offset = 0;
};

class ZipArchive {
 public:
  /// Throws Error(io) when the file cannot be opened, Error(data) when it is not a sound zip archive.
  explicit ZipArchive(const std::filesystem::path& path);

  const std::vector<ZipMember>& members() const { return members_; }
  const std::string& name() const { return file_->name(); }
  /// A reader of one member. Readers are independent of each other.
  std::shared_ptr<ByteSource> open(const ZipMember& member) const;

 private:
  std::shared_ptr<ByteSource> file_;
  std::vector<ZipMember> members_;
};

}  // namespace tare
