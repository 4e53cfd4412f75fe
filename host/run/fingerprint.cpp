#include "run/fingerprint.hpp"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <fstream>
#include <vector>

#include "tare/error.hpp"

namespace tare {
namespace {

class Hash {
 public:
  void add(const void* data, std::size_t size) {
    const auto* bytes = static_cast<const unsigned char*>(data);
    for (; size >= 8; size -= 8, bytes += 8) {
      std::uint64_t word;
      std::memcpy(&word, bytes, 8);
      mix(word);
    }
    for (; size > 0; --size, ++bytes) mix(*bytes);
  }
  void add(double value) { mix(std::bit_cast<std::uint64_t>(value)); }
  std::string text() const { return fmt::format("{:016x}", state_); }

 private:
  void mix(std::uint64_t word) {
    state_ = (state_ ^ word) * 0x100000001b3u;
    state_ ^= state_ >> 32;
  }
  std::uint64_t state_ = 0xcbf29ce484222325u;
};

}  // namespace

std::string library_version() { return TARE_VERSION; }

std::string hash_of_file(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw Error(ErrorKind::io, fmt::format("{}: cannot be read", file.string()));
  Hash hash;
  std::vector<char> block(std::size_t{1} << 20);
  while (stream.read(block.data(), static_cast<std::streamsize>(block.size())) || stream.gcount() > 0)
    hash.add(block.data(), static_cast<std::size_t>(stream.gcount()));
  return hash.text();
}

std::string hash_of_encodings(const EncodingSet& encodings) {
  Hash hash;
  for (const TensorEncodings& tensor : encodings.tensors) {
    hash.add(tensor.tensor.data(), tensor.tensor.size());
    for (const Encoding& encoding : tensor.encodings)
      for (const double value : {encoding.min, encoding.max, encoding.scale, encoding.offset}) hash.add(value);
  }
  return hash.text();
}

}  // namespace tare
