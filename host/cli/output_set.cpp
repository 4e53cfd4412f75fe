#include "cli/output_set.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
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
  if (folder_.empty()) return;
  std::error_code failed;
  // A link that leads nowhere is there, too, and the user's.
  for (std::filesystem::path missing = folder_;
       !missing.empty() && !std::filesystem::exists(std::filesystem::symlink_status(missing, failed));
       missing = missing.parent_path())
    created_.push_back(missing);
  std::filesystem::create_directories(folder_, failed);
  std::string name = folder_ / ".tare.XXXXXX";
  if (!failed && ::mkdtemp(name.data()) == nullptr) failed.assign(errno, std::generic_category());
  if (failed) {
    remove_created();
    fail(folder_, failed);
  }
  temporary_ = name;
}

OutputSet::~OutputSet() {
  std::error_code ignored;
  if (!temporary_.empty()) std::filesystem::remove_all(temporary_, ignored);
  for (const Move& move : elsewhere_) std::filesystem::remove(move.from, ignored);
  remove_created();
}

void OutputSet::remove_created() noexcept {
  for (const std::filesystem::path& folder : created_) ::rmdir(folder.c_str());
}

std::filesystem::path OutputSet::place_at(const std::filesystem::path& file) {
  std::error_code failed;
  std::filesystem::path target = file;
  if (std::filesystem::is_symlink(file, failed)) {
    const std::filesystem::path behind = std::filesystem::weakly_canonical(file, failed);
    if (!failed) target = behind;
  }
  const std::filesystem::file_status there = std::filesystem::status(target, failed);
  if (std::filesystem::exists(there) && !std::filesystem::is_regular_file(there) &&
      !std::filesystem::is_directory(there))
    return target;
  const AtomicFile probe(target);  // what cannot be written is found before the work is done
  elsewhere_.push_back(
      {target.parent_path() / fmt::format(".{}.{}.tmp", target.filename().string().substr(0, 200), ::getpid()),
       target});
  return elsewhere_.back().from;
}

std::vector<std::filesystem::path> OutputSet::commit() {
  std::vector<std::filesystem::path> names;
  if (!temporary_.empty())
    for (const auto& entry : std::filesystem::directory_iterator(temporary_)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  std::error_code failed;
  for (const auto& name : names)
    if (std::filesystem::exists(folder_ / name, failed) && !std::filesystem::is_regular_file(folder_ / name, failed))
      throw Error(ErrorKind::io,
                  fmt::format("cannot write '{}': what is there is no file; give another --output or --prefix",
                              (folder_ / name).string()));
  std::vector<Move> moves;
  moves.reserve(names.size() + elsewhere_.size());
  for (const auto& name : names) moves.push_back({temporary_ / name, folder_ / name});
  moves.insert(moves.end(), elsewhere_.begin(), elsewhere_.end());
  move_all(moves);
  std::vector<std::filesystem::path> written;
  written.reserve(moves.size());
  for (const Move& move : moves) written.push_back(move.to);
  return written;
}

}  // namespace tare::cli
