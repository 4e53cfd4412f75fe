// Files written whole or not at all. The temporary name carries the process and a counter, so that two runs that write
// the same file never share one; the last rename wins.
#include "model/atomic_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

#include "tare/error.hpp"

namespace tare {
namespace {

std::string temporary_name(const std::filesystem::path& path) {
  static std::atomic<unsigned> counter{0};
  return fmt::format(".{}.{}.{}.tmp", path.filename().string().substr(0, 200), ::getpid(), counter++);
}

}  // namespace

std::string_view write_advice(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return "free some space or write elsewhere";
    case ENOENT: return "create the folder first";
    case EISDIR: return "give a file name, not a folder";
    default: return "check the path and its permissions";
  }
}

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
  if (path_.filename().empty())
    throw Error(ErrorKind::io, fmt::format("cannot write '{}': not a file name", path_.string()));
  std::error_code ignored;
  // A link is followed, so that what is replaced is the file behind it and not the link.
  if (std::filesystem::is_symlink(path_, ignored)) {
    const std::filesystem::path target = std::filesystem::weakly_canonical(path_, ignored);
    if (!ignored) path_ = target;
  }
  struct ::stat status {};
  const bool exists = ::stat(path_.c_str(), &status) == 0;
  if (exists && S_ISDIR(status.st_mode)) fail("open", EISDIR);
  if (exists && !S_ISREG(status.st_mode)) {
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
  } else {
    do {  // a name may be that of a killed run: process numbers come again, in containers at once
      temporary_ = path_.parent_path() / temporary_name(path_);
      descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (descriptor_ < 0 && errno == EEXIST);
    if (descriptor_ < 0) temporary_.clear();
  }
  if (descriptor_ < 0) fail("create", errno);
}

AtomicFile::~AtomicFile() { close_and_remove(); }

void AtomicFile::write(std::span<const std::byte> bytes) {
  constexpr std::size_t largest_write = std::size_t{1} << 30;
  while (!bytes.empty()) {
    const ::ssize_t n = ::write(descriptor_, bytes.data(), std::min(bytes.size(), largest_write));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("write", errno);
    written_ += static_cast<std::size_t>(n);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

void AtomicFile::write_at(std::size_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ::ssize_t n = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<::off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("write", errno);
    offset += static_cast<std::size_t>(n);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

void AtomicFile::flush() {
  if (!temporary_.empty() && ::fsync(descriptor_) != 0) fail("flush", errno);
  if (::close(std::exchange(descriptor_, -1)) != 0) fail("flush", errno);
}

void AtomicFile::commit_all(std::span<AtomicFile* const> files) {
  std::vector<Move> moves;
  for (AtomicFile* file : files) {
    file->flush();
    if (!file->temporary_.empty()) moves.push_back({file->temporary_, file->path_});
  }
  move_all(moves);
  for (AtomicFile* file : files) file->temporary_.clear();
}

namespace {

[[noreturn]] void fail_at(const std::filesystem::path& path, std::string_view what, int error) {
  throw Error(ErrorKind::io, fmt::format("cannot write '{}': {} failed: {}; {}", path.string(), what,
                                         std::generic_category().message(error), write_advice(error)));
}

/// A move that can be taken back: what it replaces stays under a second name until then.
class Replacement {
 public:
  explicit Replacement(const Move& move) : move_(move) {
    std::error_code ignored;
    if (!std::filesystem::exists(move.to, ignored)) return;
    if (std::filesystem::is_directory(move.to, ignored)) fail_at(move.to, "replace", EISDIR);
    old_ = move.to.parent_path() / temporary_name(move.to);
    if (::link(move.to.c_str(), old_.c_str()) == 0) return;
    // Not every file system has links; then the old file is away for a moment.
    if (::rename(move.to.c_str(), old_.c_str()) != 0) {
      const int error = errno;
      old_.clear();
      fail_at(move.to, "replace", error);
    }
  }
  int run() { return ::rename(move_.from.c_str(), move_.to.c_str()) == 0 ? 0 : errno; }
  void take_back(bool moved) noexcept {
    if (moved) ::rename(move_.to.c_str(), move_.from.c_str());
    if (!old_.empty()) ::rename(old_.c_str(), move_.to.c_str());
    // Two names of one file: a rename between them does nothing.
    if (!old_.empty()) ::unlink(old_.c_str());
  }
  void keep() noexcept {
    if (!old_.empty()) ::unlink(old_.c_str());
  }

 private:
  const Move& move_;
  std::filesystem::path old_;
};

/// A rename itself lasts through a power cut only once the folder is flushed; not every file system can do that.
void flush_folder(const std::filesystem::path& file) {
  const std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::fsync(descriptor);
  ::close(descriptor);
}

}  // namespace

void move_all(std::span<const Move> moves) {
  std::vector<Replacement> done;
  done.reserve(moves.size());
  const auto take_back = [&] {
    for (auto replacement = done.rbegin(); replacement != done.rend(); ++replacement) replacement->take_back(true);
  };
  for (const Move& move : moves) {
    try {
      Replacement replacement(move);
      if (const int error = replacement.run(); error != 0) {
        replacement.take_back(false);
        fail_at(move.to, "rename", error);
      }
      done.push_back(std::move(replacement));
    } catch (...) {
      take_back();
      throw;
    }
  }
  for (Replacement& replacement : done) replacement.keep();
  for (const Move& move : moves) flush_folder(move.to);
}

void AtomicFile::fail(std::string_view what, int error) const { fail_at(path_, what, error); }

void AtomicFile::close_and_remove() noexcept {
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void write_file_atomically(const std::filesystem::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

void write_file_atomically(const std::filesystem::path& path, const std::function<void(AtomicFile&)>& write) {
  AtomicFile file(path);
  write(file);
  file.commit();
}

}  // namespace tare
