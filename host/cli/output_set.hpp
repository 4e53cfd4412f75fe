// The files of one export: made in a hidden folder inside the output folder, and moved to their names when all of them
// are there, all or none. So a failure, a full disk or Ctrl-C leaves what was there before.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "model/atomic_file.hpp"

namespace tare::cli {

class OutputSet {
 public:
  /// Creates the output folder, and those around it, when they are missing; an empty path is none, for files elsewhere
  /// alone. Throws Error(io) when nothing can be written there.
  explicit OutputSet(const std::filesystem::path& folder);
  OutputSet(const OutputSet&) = delete;
  OutputSet& operator=(const OutputSet&) = delete;
  ~OutputSet();

  /// Where to write the file that is to be `name` in the output folder.
  std::filesystem::path place(const std::string& name) const { return temporary_ / name; }
  /// The same for a file that is to be elsewhere. Throws Error(io) when it cannot be written there.
  std::filesystem::path place_at(const std::filesystem::path& file);
  /// Moves every file, or none; returns where they are, sorted, those of place_at last. Throws Error(io) when one
  /// cannot be moved or a folder is in the way.
  std::vector<std::filesystem::path> commit();

 private:
  /// Those of the new folders that are empty.
  void remove_created() noexcept;

  std::filesystem::path folder_;
  std::vector<Move> elsewhere_;
  std::filesystem::path temporary_;
  std::vector<std::filesystem::path> created_;  ///< folders that were not there before, innermost first
};

}  // namespace tare::cli
