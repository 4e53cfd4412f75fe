// Shared flags. Texts are turned into the library's values here, so that a wrong one is a usage error before anything
// is loaded.
#include "cli/options.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "cli/terminal.hpp"
#include "export/derived_encodings.hpp"
#include "run/data_files.hpp"
#include "tare/export.hpp"

namespace tare::cli {
namespace {

void add_choice(CLI::App& command, const std::string& flag, std::string& value, const std::vector<std::string>& choices,
                const std::string& help) {
  std::string text;
  for (const std::string& choice : choices) text += (text.empty() ? "" : "|") + choice;
  command.add_option(flag, value, help)
      ->check([choices, text](const std::string& given) {
        return std::find(choices.begin(), choices.end(), given) != choices.end()
                   ? std::string()
                   : fmt::format("'{}' is not one of {}", given, text);
      })
      ->type_name(text)
      ->capture_default_str();
}

/// "224" or "320x240": width, height.
std::pair<std::int64_t, std::int64_t> parse_size(const std::string& text) {
  const auto number = [&](const std::string& digits) -> std::int64_t {
    if (digits.empty() || digits.size() > 5 || digits.find_first_not_of("0123456789") != std::string::npos ||
        std::stoi(digits) == 0)
      throw Error(ErrorKind::usage, fmt::format("--size: '{}' is neither a number nor WIDTHxHEIGHT", text));
    return std::stoi(digits);
  };
  const std::size_t cross = text.find('x');
  if (cross == std::string::npos) return {number(text), number(text)};
  return {number(text.substr(0, cross)), number(text.substr(cross + 1))};
}

/// Every file that reading `data` opens: it may be a folder, or a list of raw files.
std::vector<std::filesystem::path> files_of_data(const std::filesystem::path& data, const Graph& graph) {
  std::vector<std::string> inputs;
  for (const ValueId input : graph.inputs) inputs.push_back(graph.value(input).name);
  std::error_code ignored;
  try {
    if (std::filesystem::exists(data, ignored)) return data_files(data, inputs);
  } catch (const std::filesystem::filesystem_error&) {  // opening the data says what is wrong with them
  } catch (const Error&) {
  }
  return {};
}

Session session_on(const std::filesystem::path& model, std::unique_ptr<Backend> backend,
                   const SessionOptions& options) {
  Session session(model, std::move(backend), options);
  for (const std::string& line : session.fallbacks()) print_message("fallback", one_line(line));
  return session;
}

}  // namespace

void add_data_flags(CLI::App& command, DataFlags& flags, bool data_required) {
  CLI::Option* data = command.add_option("--data", flags.data,
                                         "Data to run on: .npz, .npy, a folder, an input list, images (docs/data.md)");
  data->type_name("D");
  if (data_required) data->required();
  command.add_option("--samples", flags.samples, "Use the first N samples")
      ->type_name("N")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 40).description(""))
      ->default_str(flags.samples == all_samples ? "all" : std::to_string(flags.samples));
  command
      .add_option("--batch-size", flags.batch_size, "Samples a batch (default: as the model or the data say, else 8)")
      ->type_name("N")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 30).description(""));
  command.add_option("--mean", flags.mean, "Images: subtract this from pixels of 0 … 1, one number or one a channel")
      ->type_name("M,…")
      ->delimiter(',')
      ->allow_extra_args(false);
  command.add_option("--std", flags.std, "Images: then divide by this")
      ->type_name("S,…")
      ->delimiter(',')
      ->allow_extra_args(false);
  command.add_option("--size", flags.size, "Images: resize to N or WIDTHxHEIGHT (default: as the model says)")
      ->type_name("WxH");
  command
      .add_option("--resize-shorter", flags.resize_shorter,
                  "Images: scale the shorter side to N and cut the size out of the centre, instead of stretching")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{32768}).description(""));
  add_choice(command, "--layout", flags.layout, {"nchw", "nhwc"},
             "Images: order of the axes (default: as the model says)");
  add_choice(command, "--channel-order", flags.channel_order, {"rgb", "bgr"},
             "Images: order of the channels (default: rgb)");
}

void add_run_flags(CLI::App& command, RunFlags& flags) {
  command.add_option("--device", flags.device, "auto, cpu or cuda:N; calibrate: cuda:0,1 or cuda:all, too")
      ->type_name("DEVICE")
      ->capture_default_str();
  add_choice(command, "--math", flags.math, {"fp32", "tf32", "bf16", "fp64"},
             "Sums of products and convolutions: tf32 and bf16 on cuda:N, fp64 (exact but slow) on cpu");
  add_choice(command, "--fallback", flags.fallback, {"none", "cpu"},
             "Operators that cuda:N has no kernel for: refuse the model, or run them on the CPU and say so");
  add_choice(command, "--graphs", flags.graphs, {"on", "off"},
             "cuda:N: record a run as a CUDA graph and replay it for batches of the same shapes");
  command
      .add_option(
          "--convolutions", flags.convolutions,
          "Algorithms of convolutions on cuda:N: taken from this file, and written there when some were searched")
      ->type_name("FILE");
  command.add_option("--threads", flags.threads, "CPU threads (0: one a core)")
      ->type_name("N")
      ->check(CLI::Range(0, 4096).description(""))
      ->capture_default_str();
  add_choice(command, "--isa", flags.isa, {"auto", "baseline", "avx2", "avx512"}, "Highest instruction set to use");
  command.add_flag("--reproducible", flags.reproducible,
                   "The same bits for any thread count, batch size and order (batches of 1)");
  add_choice(command, "--rounding", flags.rounding, {"half-even", "aimet"},
             "Rounding of quantizers: ONNX's or AIMET's");
  add_choice(command, "--nonfinite", flags.nonfinite, {"error", "skip"},
             "NaN and infinities in the data: stop, or leave them out");
}

void add_report_flags(CLI::App& command, ReportFlags& flags) {
  command.add_flag("--quiet,-q", flags.quiet, "No progress and no summary: errors only");
  command.add_flag("--json", flags.json, "One JSON object on standard output instead of text");
}

void refuse_empty(std::string_view flag) {
  throw Error(ErrorKind::usage, fmt::format("{}: the value is empty; give one", flag));
}

void refuse_idle(std::string_view flag, std::string_view why) {
  throw Error(ErrorKind::usage, fmt::format("{} does nothing here: {}; leave it out", flag, why));
}

void refuse_idle(const CLI::App& command, std::initializer_list<const char*> flags, std::string_view why) {
  for (const char* flag : flags)
    if (command.count(flag) > 0) refuse_idle(flag, why);
}

SessionOptions session_options(const RunFlags& flags) {
  const bool cuda = flags.device.starts_with("cuda");
  if (!cuda && flags.device != "auto" && flags.device != "cpu")
    throw Error(ErrorKind::usage, fmt::format("--device: '{}' is not a device; use auto, cpu or cuda:N", flags.device));
  if (cuda ? flags.math == "fp64" : flags.math == "tf32" || flags.math == "bf16")
    throw Error(ErrorKind::usage, fmt::format("--math {} is for --device {}", flags.math, cuda ? "cpu" : "cuda:N"));
  for (const auto& [flag, given] : {std::pair{"--convolutions", !flags.convolutions.empty()},
                                    {"--fallback", flags.fallback != "none"},
                                    {"--graphs", flags.graphs != "on"}})
    if (!cuda && given) throw Error(ErrorKind::usage, fmt::format("{} is for --device cuda:N", flag));
  SessionOptions options;
  options.device = flags.device;
  options.cpu.threads = flags.threads;
  options.cpu.reproducible = flags.reproducible;
  options.cpu.wide_sums = flags.math == "fp64";
  if (flags.isa == "baseline") options.cpu.isa = Isa::baseline;
  if (flags.isa == "avx2") options.cpu.isa = Isa::avx2;
  if (flags.isa == "avx512") options.cpu.isa = Isa::avx512;
  options.rounding = flags.rounding == "aimet" ? Rounding::half_up : Rounding::half_even;
  options.stop = &interrupted();
  return options;
}

Session open_session(const std::filesystem::path& model, const RunFlags& flags, bool take_quantizers,
                     const std::function<std::unique_ptr<Backend>(std::unique_ptr<Backend>)>& wrap) {
  SessionOptions options = session_options(flags);
  options.take_quantizers = take_quantizers;
  if (!flags.device.starts_with("cuda"))
    return wrap ? Session(model, wrap(make_cpu_backend(options.cpu)), options) : Session(model, options);
  std::vector<std::unique_ptr<Backend>> backends = make_cuda_devices(flags, options);
  if (backends.size() != 1)
    throw Error(ErrorKind::usage,
                fmt::format("--device {}: only calibrate runs on several devices; name one", flags.device));
  return session_on(model, wrap ? wrap(std::move(backends[0])) : std::move(backends[0]), options);
}

std::vector<Session> open_sessions(const std::filesystem::path& model, const RunFlags& flags, bool take_quantizers) {
  std::vector<Session> sessions;
  if (!flags.device.starts_with("cuda")) {
    sessions.push_back(open_session(model, flags, take_quantizers));
    return sessions;
  }
  SessionOptions options = session_options(flags);
  options.take_quantizers = take_quantizers;
  for (std::unique_ptr<Backend>& backend : make_cuda_devices(flags, options))
    sessions.push_back(session_on(model, std::move(backend), options));
  return sessions;
}

std::string counts_text(const QuantizerCounts& counts) {
  return fmt::format("{}: {} of activations, {} of parameters", counts.all(), counts.activations, counts.parameters);
}

QuantizerCounts use_encodings(Session& session, const std::string& file) {
  for (const std::string& line : session.kept_quantizers()) print_message("warning", line);
  const EncodingSet encodings = file.empty() ? session.held_encodings() : load_encodings(file);
  try {
    session.set_encodings(encodings);
  } catch (const Error& error) {
    throw Error(error.kind(), file.empty() ? error.what() : fmt::format("{}: {}", file, error.what()));
  }
  QuantizerCounts counts;
  for (const TensorEncodings& tensor : acting_encodings(encodings, session.graph()).tensors)
    ++(tensor.role == SiteRole::parameter ? counts.parameters : counts.activations);
  return counts;
}

NonfinitePolicy nonfinite_policy(const RunFlags& flags) {
  return flags.nonfinite == "skip" ? NonfinitePolicy::skip : NonfinitePolicy::error;
}

std::unique_ptr<Dataset> open_data(const DataFlags& flags, const RunFlags& run, const Graph& graph) {
  if (run.reproducible && flags.batch_size > 1) refuse_idle("--batch-size", "--reproducible takes batches of one");
  DataOptions options;
  options.samples = flags.samples;
  options.batch_size = run.reproducible ? 1 : flags.batch_size;
  options.shard = flags.shard;
  for (const auto& [flag, values] : {std::pair{"--mean", &flags.mean}, {"--std", &flags.std}})
    for (const float value : *values)
      if (std::abs(value) > 2)
        throw Error(ErrorKind::usage,
                    fmt::format("{} {}: pixels are divided by 255 first, so that they lie in 0 … 1; give {:.6g}", flag,
                                value, value / 255));
  if (!flags.mean.empty() || !flags.std.empty() || !flags.size.empty() || flags.resize_shorter > 0 ||
      !flags.layout.empty() || !flags.channel_order.empty()) {
    ImageOptions& image = options.image.emplace();
    if (!flags.mean.empty()) image.mean = flags.mean;
    if (!flags.std.empty()) image.std = flags.std;
    if (!flags.size.empty()) std::tie(image.width, image.height) = parse_size(flags.size);
    image.resize_shorter = flags.resize_shorter;
    if (flags.layout == "nchw") image.layout = ImageLayout::nchw;
    if (flags.layout == "nhwc") image.layout = ImageLayout::nhwc;
    if (flags.channel_order == "bgr") image.channel_order = ChannelOrder::bgr;
  }
  return prefetch(open_dataset(flags.data, graph, options));
}

void refuse_replacing(const std::filesystem::path& output, const Model& model, const std::filesystem::path& data,
                      std::vector<std::filesystem::path> read) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(output, ignored)) return;
  for (const std::vector<std::filesystem::path>& also : {external_files(model), files_of_data(data, model.graph)})
    read.insert(read.end(), also.begin(), also.end());
  for (const std::filesystem::path& input : read)
    if (std::filesystem::equivalent(output, input, ignored))
      throw Error(ErrorKind::usage,
                  fmt::format("'{}' would replace '{}', which is read; give the output another name or folder",
                              output.string(), input.string()));
}

void add_statistics_flag(CLI::App& command, std::vector<std::string>& files, const std::string& help) {
  command.add_option("--from-stats", files, help)
      ->type_name("F,…")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

StatisticsFile load_all_statistics(const std::vector<std::string>& files) {
  StatisticsFile sum = load_statistics(files.at(0));
  for (std::size_t i = 1; i < files.size(); ++i) {
    try {
      merge(sum, load_statistics(files[i]));
    } catch (const Error& error) {
      throw Error(error.kind(), fmt::format("--from-stats: '{}': {}", files[i], error.what()));
    }
  }
  return sum;
}

std::string names_in_quotes(const std::vector<std::string>& files) { return fmt::to_string(fmt::join(files, "', '")); }

Scheme parse_scheme(const std::string& text, std::string_view flag) {
  if (const std::optional<Scheme> scheme = scheme_of(text)) return *scheme;
  throw Error(
      ErrorKind::usage,
      fmt::format("{}: '{}' is not one of min_max (tf), sqnr, mse, percentile, entropy, tf_enhanced", flag, text));
}

std::vector<std::string> with_dashes(int count, const char* const* arguments) {
  std::vector<std::string> result;
  bool flags = true;
  for (int i = 1; i < count; ++i) {
    std::string argument = arguments[i];
    if (argument == "--") flags = false;
    if (flags && argument.starts_with("--")) {
      const std::size_t name = std::min(argument.find('='), argument.size());
      std::replace(argument.begin(), argument.begin() + static_cast<std::ptrdiff_t>(name), '_', '-');
      if (name + 1 == argument.size()) refuse_empty(argument.substr(0, name));
    } else if (flags && argument.size() > 2 && argument[0] == '-' && argument[2] == '=') {
      argument.erase(2, 1);  // -o=DIR
    }
    result.push_back(std::move(argument));
  }
  return result;
}

void add_examples(CLI::App& command, const std::vector<std::string>& lines) {
  std::string text = "Examples:";
  for (const std::string& line : lines) text += "\n  " + line;
  command.footer(text);
}

}  // namespace tare::cli
