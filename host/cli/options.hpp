// Flags that several commands share, and what they mean to the library.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tare/session.hpp"

namespace tare::cuda {
class ConvolutionChoices;
}

namespace tare::cli {

inline constexpr std::size_t all_samples = static_cast<std::size_t>(-1);

struct DataFlags {
  std::string data;
  std::size_t samples = all_samples;  ///< at most
  std::size_t batch_size = 0;
  std::vector<float> mean;
  std::vector<float> std;
  std::string size;
  std::int64_t resize_shorter = 0;
  std::string layout;
  std::string channel_order;
  Shard shard;
};

struct RunFlags {
  std::string device = "auto";
  std::string math = "fp32";
  std::string fallback = "none";
  std::string graphs = "on";
  std::string convolutions;
  std::shared_ptr<cuda::ConvolutionChoices> choices;  ///< of all backends of the command; see with_convolutions()
  int threads = 0;
  std::string isa = "auto";
  bool reproducible = false;
  std::string rounding = "half-even";
  std::string nonfinite = "error";
};

struct ReportFlags {
  bool quiet = false;
  bool json = false;
};

/// What the command line asks for: set by the command that was chosen, called when the whole line was understood.
using Action = std::function<int()>;

/// `data_required`: false where another flag can stand in for the data.
void add_data_flags(CLI::App& command, DataFlags& flags, bool data_required = true);
void add_run_flags(CLI::App& command, RunFlags& flags);
void add_report_flags(CLI::App& command, ReportFlags& flags);

/// Throws Error(usage): a script whose variable is not set would get what it gets without the flag.
[[noreturn]] void refuse_empty(std::string_view flag);
/// Throws Error(usage): a flag that was given changes nothing beside the others, which looks as if it had.
[[noreturn]] void refuse_idle(std::string_view flag, std::string_view why);
/// The same where one of these was given, whatever its value.
void refuse_idle(const CLI::App& command, std::initializer_list<const char*> flags, std::string_view why);

/// The model on the device that the flags name. Operators that fall back to another one are listed on standard error.
/// `take_quantizers`: as in SessionOptions.
/// `wrap`: what the session gets instead of the device's backend.
Session open_session(const std::filesystem::path& model, const RunFlags& flags, bool take_quantizers = false,
                     const std::function<std::unique_ptr<Backend>(std::unique_ptr<Backend>)>& wrap = {});
/// The same for a command that several devices can share: one session a device.
std::vector<Session> open_sessions(const std::filesystem::path& model, const RunFlags& flags,
                                   bool take_quantizers = false);
struct QuantizerCounts {
  std::size_t activations = 0;
  std::size_t parameters = 0;
  std::size_t all() const { return activations + parameters; }
};
/// "311: 207 of activations, 104 of parameters"
std::string counts_text(const QuantizerCounts& counts);
/// Simulates from now on with the encodings of a file, or with the model's own where none is given. How many quantizers
/// act, whatever else the file lists.
QuantizerCounts use_encodings(Session& session, const std::string& file);
/// Runs a command; then, where that has searched algorithms of convolutions, writes the file that the flags name.
int with_convolutions(RunFlags& flags, const std::function<int()>& command);
/// Backends for "cuda:N", "cuda:N,M", "cuda:all", from device/cuda.cpp or, in a build without CUDA, device/none.cpp.
std::vector<std::unique_ptr<Backend>> make_cuda_devices(const RunFlags& flags, const SessionOptions& options);
SessionOptions session_options(const RunFlags& flags);
NonfinitePolicy nonfinite_policy(const RunFlags& flags);
/// Reads ahead of the run.
std::unique_ptr<Dataset> open_data(const DataFlags& flags, const RunFlags& run, const Graph& graph);

/// Throws Error(usage) when writing `output` would replace a file that is read: one of `read`, one that `data` stands
/// for, or the model's external data.
void refuse_replacing(const std::filesystem::path& output, const Model& model, const std::filesystem::path& data,
                      std::vector<std::filesystem::path> read);

/// --from-stats: one file, or those of several runs.
void add_statistics_flag(CLI::App& command, std::vector<std::string>& files, const std::string& help);
/// What they add up to. Throws Error(usage) naming a file that does not go with those before it.
StatisticsFile load_all_statistics(const std::vector<std::string>& files);
/// "a', 'b": for messages that put the name of a file in quotes.
std::string names_in_quotes(const std::vector<std::string>& files);

Scheme parse_scheme(const std::string& text, std::string_view flag = "--scheme");

/// Takes `_` for `-` in the names of long flags. Throws Error(usage) for "--flag=", whose value CLI11 takes from the
/// next argument.
std::vector<std::string> with_dashes(int count, const char* const* arguments);

/// Examples at the end of a command's help.
void add_examples(CLI::App& command, const std::vector<std::string>& lines);

void add_calibrate(CLI::App& root, Action& action);
void add_simulate(CLI::App& root, Action& action);
void add_run(CLI::App& root, Action& action);
void add_evaluate(CLI::App& root, Action& action);
void add_inspect(CLI::App& root, Action& action);
void add_diff(CLI::App& root, Action& action);
void add_lint(CLI::App& root, Action& action);
void add_bench(CLI::App& root, Action& action);

}  // namespace tare::cli
