// Flags that change single quantizers, and what they mean to the library.
#pragma once

#include <string>
#include <vector>

#include "cli/options.hpp"

namespace tare::cli {

struct OverrideFlags {
  std::string encodings_in;
  bool freeze_parameters = false;
  bool strict = false;
  std::vector<std::string> overrides;
  std::vector<std::string> op_types_to_quantize;
  std::vector<std::string> op_types_to_exclude;
  std::vector<std::string> nodes_to_exclude;
};

void add_given_flags(CLI::App& command, OverrideFlags& flags);
void add_override_flags(CLI::App& command, OverrideFlags& flags);
void set_overrides(const OverrideFlags& flags, CalibrationOptions& options);

}  // namespace tare::cli
