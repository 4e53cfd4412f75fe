// The flags of `tare calibrate`: what they are, what they mean to the library, and which of them go together.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/export_files.hpp"
#include "cli/options.hpp"
#include "cli/overrides.hpp"

namespace tare::cli {

struct CalibrateFlags {
  std::string model;
  DataFlags data;
  RunFlags run;
  ReportFlags report;
  std::string config = "default";
  std::string scheme = "sqnr";
  std::string parameter_scheme;
  double gamma = 3;
  double percentile = 99.99;
  std::string sentinels = "clamp";
  std::string parameter_type = "int8";
  std::string activation_type = "int8";
  std::string output = "out";
  std::string prefix;
  std::string save_stats;
  std::vector<std::string> from_stats;
  std::string shard;
  std::string observe_weights = "quantized";
  bool read_every_tensor = false;
  bool refine = false;
  ExportFlags files;
  OverrideFlags overrides;
  bool recalibrate = false;
};

void add_calibrate_flags(CLI::App& command, const std::shared_ptr<CalibrateFlags>& flags);
CalibrationOptions calibration_options(const CalibrateFlags& flags);
/// Throws Error(usage) for flags that exclude each other, and for those that do nothing beside the others.
void check_flags(const CLI::App& command, const CalibrateFlags& flags, const CalibrationOptions& options);
/// The same once it is known whether the model holds quantizers.
void check_held_flags(const CLI::App& command, const CalibrationOptions& options, bool held);
/// "2/4"
Shard parse_shard(const std::string& text);

}  // namespace tare::cli
