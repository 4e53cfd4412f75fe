#include "cli/output_set.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "tare/error.hpp"

namespace tare::cli {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::error_code& why) {
  throw Error(ErrorKind::io,
              fmt::format("cannot write to '{}': {}; give another folder with --output", path.string(), why.message()));
}

}  // namespace

OutputSet::OutputSet(const std::filesystem::path& folder) : folder_(folder) {
  std::error_code failed;
  created_ = std::filesystem::create_directories(folder_, failed);
  if (failed) fail(folder_, failed);
  temporary_ = folder_ / fmt::format(".tare.{}.tmp", ::getpid());
  if (::mkdir(temporary_.c_str(), 0777) != 0) {
    const std::error_code why(errno, std::generic_category());
    std::error_code ignored;
    if (created_) std::filesystem::remove(folder_, ignored);
    temporary_.clear();
    fail(folder_, why);
  }
}

OutputSet::~OutputSet() {
  std::error_code ignored;
  if (!temporary_.empty()) std::filesystem::remove_all(temporary_, ignored);
  if (created_) std::filesystem::remove(folder_, ignored);  // only when it is empty
}

std::vector<std::filesystem::path> OutputSet::commit() {
  std::vector<std::filesystem::path> names;
  for (const auto& entry : std::filesystem::directory_iterator(temporary_)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  std::error_code failed;
  for (const auto& name : names)
    if (std::filesystem::exists(folder_ / name, failed) && !std::filesystem::is_regular_file(folder_ / name, failed))
      throw Error(ErrorKind::io,
                  fmt::format("cannot write '{}': what is there is no regular file; give another --output or --prefix",
                              (folder_ / name).string()));
  std::vector<std::filesystem::path> written;
  for (const auto& name : names) {
    std::filesystem::rename(temporary_ / name, folder_ / name, failed);
    if (failed) fail(folder_ / name, failed);
    written.push_back(folder_ / name);
  }
  return written;
}

}  // namespace tare::cli
