#include "run/fingerprint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "run/bytes.hpp"

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

void add_file(Hash& hash, const std::filesystem::path& path) {
  const std::shared_ptr<ByteSource> file = open_file(path);
  std::vector<std::byte> block(std::size_t{1} << 20);
  for (std::uint64_t at = 0; at < file->size(); at += block.size()) {
    const auto piece =
        std::span(block).first(static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), file->size() - at)));
    file->read(at, piece);
    hash.add(piece.data(), piece.size());
  }
}

}  // namespace

std::string library_version() { return TARE_VERSION; }

std::string hash_of_model(const Model& model) {
  Hash hash;
  add_file(hash, model.path);
  for (const std::filesystem::path& file : external_files(model)) add_file(hash, file);
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
