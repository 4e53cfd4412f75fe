// The `tare` command: reads the command line, runs one command, turns every error into one line and an exit code.
// Everything it does is the library's; a command's file says how it is asked for and how the result is shown.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <exception>
#include <new>

#include "cli/options.hpp"
#include "cli/terminal.hpp"
#include "cli/waits.hpp"

namespace tare::cli {
namespace {

constexpr const char* description =
    "tare sets the zero and the scale: calibrates and simulates quantized ONNX models.\n"
    "Exit codes: 0 done, 1 diff or lint found something, 2 usage, 3 model, config or encodings file, 4 data,\n"
    "5 input and output, 6 not supported, 70 failure inside, 130 interrupted.";

/// Lists of what is not supported keep their lines; everything else is one.
std::string message_text(ErrorKind kind, std::string text) {
  return kind == ErrorKind::unsupported ? text : one_line(std::move(text));
}

int fail(ErrorKind kind, const std::string& text) {
  print_message("error", message_text(kind, text));
  return exit_code(kind);
}

std::string names_of(const std::vector<CLI::App*>& commands) {
  std::string names;
  for (const CLI::App* command : commands) names += (names.empty() ? "" : ", ") + command->get_name();
  return names;
}

/// The first word that is no flag has to be a command. Throws Error(usage) that names all of them.
void check_command(CLI::App& app, const std::vector<std::string>& line) {
  const auto word =
      std::find_if(line.begin(), line.end(), [](const std::string& part) { return !part.starts_with('-'); });
  const std::vector<CLI::App*> commands = app.get_subcommands([](CLI::App*) { return true; });
  const bool known = std::any_of(commands.begin(), commands.end(), [&](const CLI::App* command) {
    return word != line.end() && command->get_name() == *word;
  });
  const bool asks_nothing = std::none_of(line.begin(), line.end(), [](const std::string& part) {
    return part == "-h" || part == "--help" || part == "-V" || part == "--version";
  });
  if (known || (word == line.end() && !asks_nothing)) return;
  throw Error(ErrorKind::usage,
              fmt::format("{}; commands: {}; see 'tare --help'",
                          word == line.end() ? "a command is needed" : fmt::format("'{}' is no command", *word),
                          names_of(commands)));
}

void check_values(const CLI::App& command) {
  constexpr std::array<std::string_view, 4> inputs = {"--data", "--labels", "--encodings", "--encodings-in"};
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& value : option->results())
      if (value.empty()) refuse_empty(option->get_name());
    // Of settings the last one counts, as everywhere; of two inputs one would be left out.
    const bool is_input = std::find(inputs.begin(), inputs.end(), option->get_name()) != inputs.end();
    if (is_input && option->count() > 1)
      throw Error(ErrorKind::usage,
                  fmt::format("{} is given {} times; give it once{}", option->get_name(), option->count(),
                              option->get_name() == "--data" ? "; several files go into a folder" : ""));
  }
}

/// Whether one is in the other, or they begin alike.
bool are_alike(std::string_view a, std::string_view b) {
  const auto is_in = [](std::string_view part, std::string_view whole) {
    return part.size() > 4 && whole.find(part) != std::string_view::npos;
  };
  return is_in(a, b) || is_in(b, a) || (a.size() > 4 && a.substr(0, 5) == b.substr(0, 5));
}

/// What is wrong with the words that neither flags nor arguments take.
std::string rest_text(const CLI::App& command, const std::vector<std::string>& words) {
  const auto flag =
      std::find_if(words.begin(), words.end(), [](const std::string& word) { return word.starts_with('-'); });
  if (flag == words.end())
    return fmt::format("'{}' belongs to no flag{}", words.front(),
                       command.get_option_no_throw("--data") == nullptr
                           ? ""
                           : "; files of data follow --data, and the numbers of a list have commas between them");
  const std::string name = flag->substr(0, flag->find('='));
  std::string near;
  for (const CLI::Option* option : command.get_options())
    for (const std::string& known : option->get_lnames())
      if (are_alike(std::string_view(name).substr(std::min(name.find_first_not_of('-'), name.size())), known))
        near += (near.empty() ? "; did you mean --" : " or --") + known;
  return fmt::format("there is no flag '{}'{}", name, near);
}

int run(int count, const char* const* arguments) {
  CLI::App app(description, "tare");
  app.set_version_flag("--version,-V", fmt::format("tare {}", TARE_VERSION));
  app.require_subcommand(1);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.get_formatter()->column_width(34);
  Action action;
  add_calibrate(app, action);
  add_simulate(app, action);
  add_run(app, action);
  add_evaluate(app, action);
  add_inspect(app, action);
  add_diff(app, action);
  add_lint(app, action);
  add_bench(app, action);
  add_examples(
      app,
      {"tare calibrate model.onnx --data samples.npz --output out",
       "tare evaluate model.onnx --encodings out/model.encodings --data test.npz --labels labels.npy --metric top1",
       "tare calibrate --help"});
  std::vector<std::string> line = with_dashes(count, arguments);
  check_command(app, line);
  std::reverse(line.begin(), line.end());  // CLI11 takes the last one first
  std::string command = "tare";
  try {
    app.parse(std::move(line));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    std::string text = error.what();
    for (CLI::App* chosen : app.get_subcommands()) {
      command += " " + chosen->get_name();
      const std::vector<std::string> rest = app.remaining(true);
      if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !rest.empty()) text = rest_text(*chosen, rest);
    }
    return fail(ErrorKind::usage, fmt::format("{}; see '{} --help'", text, command));
  }
  for (const CLI::App* chosen : app.get_subcommands()) check_values(*chosen);
  return action();
}

}  // namespace
}  // namespace tare::cli

int main(int count, char** arguments) {
  using tare::ErrorKind;
  tare::cli::wait_briefly(arguments);
  tare::cli::catch_interrupts();
  try {
    return tare::cli::run(count, arguments);
  } catch (const tare::Error& error) {
    return tare::cli::fail(error.kind(), error.what());
  } catch (const std::bad_alloc&) {
    return tare::cli::fail(ErrorKind::internal, "out of memory; use a smaller --batch-size");
  } catch (const std::exception& error) {
    return tare::cli::fail(ErrorKind::internal, error.what());
  }
}
