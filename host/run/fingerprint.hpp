// Hashes that tell whether saved statistics still fit: 64-bit FNV-1a over eight bytes at a time. Not a protection
// against anybody, only against mistakes.
#pragma once

#include <filesystem>
#include <string>

#include "tare/quantizer.hpp"

namespace tare {

std::string library_version();
std::string hash_of_file(const std::filesystem::path& file);
std::string hash_of_encodings(const EncodingSet& encodings);

}  // namespace tare
