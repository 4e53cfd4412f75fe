// Runs build/tare as a shell would: arguments, both streams, exit code, signals, a limit on the size of files.
#pragma once

#include <gmock/gmock.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/model_builder.hpp"

namespace tare::test {

struct CommandResult {
  int exit_code = -1;  ///< -1: ended by a signal
  std::string output;
  std::string errors;
  nlohmann::json json() const { return nlohmann::json::parse(output); }
};

struct CommandOptions {
  std::filesystem::path folder;          ///< to run in; empty: this one
  std::size_t largest_file = 0;          ///< writing more to one file fails, as on a full disk
  bool obeys_permissions = false;        ///< root loses its right to write everywhere
  bool on_terminal = false;              ///< standard error is a terminal
  bool ignores_interrupts = false;       ///< as whoever starts it in the background of a script has it
  std::function<bool()> interrupt_when;  ///< polled; once true, the command gets Ctrl-C
};

/// The command that was built beside the tests.
std::filesystem::path tare_binary();
CommandResult run_command(const std::vector<std::string>& arguments, const CommandOptions& options = {});
inline CommandResult tare(std::vector<std::string> arguments, const CommandOptions& options = {}) {
  arguments.insert(arguments.begin(), tare_binary().string());
  return run_command(arguments, options);
}

/// Exit code, exactly one line on standard error in the form of the command, and nothing on standard output.
void expect_error(const CommandResult& result, int exit_code, const std::string& part);

/// Names of everything in a folder, hidden files included.
std::vector<std::string> names_in(const std::filesystem::path& folder);

/// A model that is quick to run: x [N,3,8,8] -> Conv -> Relu -> y [N,4,8,8].
onnx::ModelProto small_model();
/// `samples` of x for the small model, with one value at one place of them all.
void write_samples(const std::filesystem::path& path, std::int64_t samples, float value = 0.5f, std::int64_t at = 0);

}  // namespace tare::test
