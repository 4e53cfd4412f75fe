// What a command shows while it runs and after: progress, interruption, numbers for people and for machines.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "tare/error.hpp"

namespace tare::cli {

/// From now on Ctrl-C (and SIGTERM) only asks to stop; the second one ends the process at once.
void catch_interrupts();
/// Whether that was asked for; sessions look at it before every node (SessionOptions::stop).
const std::atomic<bool>& interrupted();
/// Throws Error(interrupted) when it was asked for.
void stop_if_interrupted();

/// Progress on standard error: a bar with rate and time left on a terminal, else a line every ten seconds.
class ProgressBar {
 public:
  ProgressBar(std::string what, bool quiet);
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  /// Removes the bar, so that other lines can follow.
  ~ProgressBar();
  /// False when the user wants to stop.
  bool update(std::size_t done, std::size_t total);

 private:
  using Clock = std::chrono::steady_clock;
  std::string what_;
  bool quiet_;
  bool terminal_;
  bool shown_ = false;
  Clock::time_point start_;
  Clock::time_point last_;
};

/// A line on standard error, in the form of every message of the command.
void print_message(std::string_view kind, std::string_view text);
/// Text for people, to standard output; control characters but line ends become '?'. Throws Error(io) when it cannot be
/// written (a full disk behind a redirection).
void print(std::string_view text);
/// A name or a message within a line of a list, where a line end would begin a line that says something else.
std::string one_line(std::string text);
/// The object of --json. Names come from files: what is not UTF-8 in them is replaced.
void print_json(const nlohmann::ordered_json& object);

/// The most memory that this process has held so far.
std::size_t peak_memory_bytes();
/// "312.4 MiB"
std::string bytes_text(std::size_t bytes);
/// "0.412 s", "12.3 s", "4 min 05 s"
std::string seconds_text(double seconds);
/// Exit code of an error.
int exit_code(ErrorKind kind);

}  // namespace tare::cli
