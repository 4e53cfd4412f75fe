// What calibrate writes beside statistics, and the flags that say so.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/output_set.hpp"
#include "tare/session.hpp"

namespace tare::cli {

struct ExportFlags {
  std::string encoding_version = "1.0.0";
  bool qdq = true;
  std::string qdq_weights = "float";
  bool qdq_int32_bias = false;
  bool qdq_moved = true;
  std::optional<bool> int32_bias;  ///< none: as AIMET, in 2.0.0 alone
  std::string activations_as = "unsigned";
  std::vector<std::string> also;
};

void add_export_flags(CLI::App& command, ExportFlags& flags);

/// All files of the export, in the folder of `files`.
void export_files(const ExportFlags& flags, const Session& session, const CalibrationOptions& options,
                  const CalibrationResult& result, const std::string& prefix, const OutputSet& files);

}  // namespace tare::cli
