// Where the tests find things: committed small data, and the cache of models and ONNX tests that `make data` fills.
#pragma once

#include <filesystem>

namespace tare::test {

/// The source tree; its tests/data.
std::filesystem::path source_folder();
std::filesystem::path data_folder();
/// $TARE_CACHE, or ~/.cache/tare.
std::filesystem::path cache_folder();
/// The ONNX project's backend tests in there, of the version that tools/models.txt names.
std::filesystem::path onnx_tests_folder();

}  // namespace tare::test
