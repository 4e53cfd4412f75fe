#include "archive.hpp"

#include <zlib.h>

#include "support.hpp"

namespace tare::test {

std::string number(std::uint64_t value, std::size_t width) {
  std::string bytes;
  for (std::size_t i = 0; i < width; ++i) bytes += static_cast<char>(i < 8 ? (value >> (8 * i)) & 0xff : 0);
  return bytes;
}

std::string zip(const std::vector<HandMade>& members) {
  std::string file, directory;
  for (const HandMade& member : members) {
    std::string packed = member.data;
    if (member.method == 8) {
      z_stream stream{};
      deflateInit2(&stream, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
      packed.resize(deflateBound(&stream, member.data.size()));
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(member.data.data()));
      stream.avail_in = static_cast<uInt>(member.data.size());
      stream.next_out = reinterpret_cast<Bytef*>(packed.data());
      stream.avail_out = static_cast<uInt>(packed.size());
      deflate(&stream, Z_FINISH);
      packed.resize(packed.size() - stream.avail_out);
      deflateEnd(&stream);
    }
    const auto sum =
        crc32(0, reinterpret_cast<const Bytef*>(member.data.data()), static_cast<uInt>(member.data.size()));
    const std::uint64_t size = member.claimed_size == ~0ull ? member.data.size() : member.claimed_size;
    const std::string common = number(20, 2) + number(member.flags, 2) + number(member.method, 2) + number(0, 4) +
                               number(sum ^ member.checksum_change, 4) + number(packed.size(), 4) + number(size, 4) +
                               number(member.name.size(), 2) + number(0, 2);
    const std::uint64_t offset = member.offset == ~0ull ? file.size() : member.offset;
    directory +=
        number(0x02014b50, 4) + number(20, 2) + common + number(0, 2 + 2 + 2 + 4) + number(offset, 4) + member.name;
    file += number(0x04034b50, 4) + common + member.name + packed;
  }
  const std::uint64_t start = file.size();
  return file + directory + number(0x06054b50, 4) + number(0, 4) + number(members.size(), 2) +
         number(members.size(), 2) + number(directory.size(), 4) + number(start, 4) + number(0, 2);
}

void save_npz(const std::filesystem::path& path, const std::vector<std::pair<std::string, Tensor>>& arrays,
              bool deflated) {
  std::vector<HandMade> members;
  for (const auto& [key, tensor] : arrays) {
    write_npy(path, tensor);
    members.push_back({.name = key + ".npy", .data = bytes_of_file(path), .method = deflated ? 8u : 0u});
  }
  std::ofstream(path, std::ios::binary) << zip(members);
}

}  // namespace tare::test
