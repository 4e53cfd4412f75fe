// Progress, interruption and messages. Odd: the one flag that a signal handler sets has to be global.
#include "cli/terminal.hpp"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>

namespace tare::cli {
namespace {

std::atomic<bool> interrupt_requested = false;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler writes it");

extern "C" void on_interrupt(int) { interrupt_requested = true; }

void write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ::ssize_t n = ::write(descriptor, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EPIPE) {  // whoever reads has had enough: end as any filter does
      std::signal(SIGPIPE, SIG_DFL);
      std::raise(SIGPIPE);
    }
    if (n < 0)
      throw Error(ErrorKind::io,
                  fmt::format("cannot write to standard output: {}", std::generic_category().message(errno)));
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

/// Names come from files, and a terminal obeys what it is sent: control characters become '?', those of eight bits
/// (U+0080 to U+009F), too.
std::string printable(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool two_bytes = c == '\xc2' && i + 1 < text.size() && (text[i + 1] & '\xe0') == '\x80';
    const bool control = two_bytes || (c >= 0 && c < ' ' && c != '\n') || c == '\x7f';
    result += control ? '?' : c;
    if (two_bytes) ++i;
  }
  return result;
}

void write_error(const std::string& text) {
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

}  // namespace

void catch_interrupts() {
  struct ::sigaction action {};
  action.sa_handler = on_interrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct ::sigaction before {};  // what whoever started us ignores, as nohup does, stays ignored
    if (::sigaction(signal, nullptr, &before) == 0 && before.sa_handler != SIG_IGN)
      ::sigaction(signal, &action, nullptr);
  }
  // Writing fails instead, with a message, and leaves nothing behind.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

const std::atomic<bool>& interrupted() { return interrupt_requested; }

void stop_if_interrupted() {
  if (interrupted()) throw Error(ErrorKind::interrupted, "interrupted: nothing was written");
}

ProgressBar::ProgressBar(std::string what, bool quiet)
    : what_(std::move(what)),
      quiet_(quiet),
      terminal_(::isatty(STDERR_FILENO) != 0),
      start_(Clock::now()),
      last_(start_) {}

ProgressBar::~ProgressBar() {
  if (shown_) write_error("\r\x1b[K");
}

bool ProgressBar::update(std::size_t done, std::size_t total) {
  if (interrupted()) return false;
  const Clock::time_point now = Clock::now();
  const double since_last = std::chrono::duration<double>(now - last_).count();
  if (quiet_ || since_last < (terminal_ ? 0.1 : 10.0)) return true;
  last_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  const double share = total > 0 ? std::min(1.0, static_cast<double>(done) / static_cast<double>(total)) : 0;
  const double left = rate > 0 && total > done ? static_cast<double>(total - done) / rate : 0;
  const std::string figures =
      fmt::format("{}/{} samples  {:.1f} samples/s  {} left", done, total, rate, done > 0 ? seconds_text(left) : "?");
  if (!terminal_) {
    write_error(fmt::format("tare: {}: {}\n", what_, figures));
    return true;
  }
  constexpr std::size_t width = 24;
  const auto filled = static_cast<std::size_t>(share * static_cast<double>(width));
  write_error(fmt::format("\r{}  [{}{}] {:3.0f} %  {}\x1b[K", what_, std::string(filled, '='),
                          std::string(width - filled, ' '), 100 * share, figures));
  shown_ = true;
  return true;
}

void print_message(std::string_view kind, std::string_view text) {
  write_error(printable(fmt::format("tare: {}: {}\n", kind, text)));
}

void print(std::string_view text) { write_all(STDOUT_FILENO, printable(text)); }

void print_json(const nlohmann::ordered_json& object) {
  write_all(STDOUT_FILENO, object.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

/// Of this program alone: what getrusage says begins with the peak of the process that started it.
std::size_t peak_memory_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) * 1024;
  struct ::rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

std::string bytes_text(std::size_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes < 1024) return fmt::format("{} B", bytes);
  if (bytes < (1u << 20)) return fmt::format("{:.1f} KiB", value / 1024);
  if (bytes < (1u << 30)) return fmt::format("{:.1f} MiB", value / 1048576);
  return fmt::format("{:.2f} GiB", value / 1073741824);
}

std::string seconds_text(double seconds) {
  if (seconds < 10) return fmt::format("{:.2f} s", seconds);
  if (seconds < 120) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<long long>(seconds);
  if (seconds < 7200) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::usage: return 2;
    case ErrorKind::model: return 3;
    case ErrorKind::data: return 4;
    case ErrorKind::io: return 5;
    case ErrorKind::unsupported: return 6;
    case ErrorKind::interrupted: return 130;
    case ErrorKind::internal: return 70;
  }
  return 70;
}

}  // namespace tare::cli
