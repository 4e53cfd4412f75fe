#include "cli/command.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <pty.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <optional>
#include <stdexcept>
#include <thread>

#include "tare/dataset.hpp"

namespace tare::test {
namespace {

/// A pseudo terminal; what is written to it is read by a thread, so that the writer never waits.
struct Terminal {
  Terminal() {
    if (::openpty(&master, &slave, nullptr, nullptr, nullptr) != 0) throw std::runtime_error("no pseudo terminal");
    reader = std::thread([this] {
      char bytes[4096];
      for (::ssize_t n = 0; (n = ::read(master, bytes, sizeof bytes)) > 0;) text.append(bytes, static_cast<size_t>(n));
    });
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal() { finish(); }
  /// All that was written. Nobody may hold the other end any more.
  std::string finish() {
    if (slave >= 0) ::close(std::exchange(slave, -1));
    if (reader.joinable()) reader.join();
    if (master >= 0) ::close(std::exchange(master, -1));
    return text;
  }

  int master = -1;
  int slave = -1;
  std::string text;
  std::thread reader;
};

}  // namespace

std::filesystem::path tare_binary() { return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "tare"; }

CommandResult run_command(const std::vector<std::string>& arguments, const CommandOptions& options) {
  const TemporaryFolder folder;
  const std::string output = (folder / "output").string();
  const std::string errors = (folder / "errors").string();
  std::vector<char*> pointers;
  for (const std::string& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  std::optional<Terminal> terminal;
  if (options.on_terminal) terminal.emplace();
  const ::pid_t child = ::fork();
  if (child == 0) {
    ::dup2(::open("/dev/null", O_RDONLY), STDIN_FILENO);
    ::dup2(::open(output.c_str(), O_WRONLY | O_CREAT, 0600), STDOUT_FILENO);
    ::dup2(terminal ? terminal->slave : ::open(errors.c_str(), O_WRONLY | O_CREAT, 0600), STDERR_FILENO);
    if (options.obeys_permissions && ::geteuid() == 0)
      for (const int right : {CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH})
        if (::prctl(PR_CAPBSET_DROP, right, 0, 0, 0) != 0) ::_exit(125);
    if (!options.folder.empty() && ::chdir(options.folder.c_str()) != 0) ::_exit(126);
    if (options.largest_file > 0) {
      const struct ::rlimit limit = {options.largest_file, options.largest_file};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      ::signal(SIGXFSZ, SIG_IGN);  // stays ignored across exec: writes fail instead
    }
    if (options.ignores_interrupts) ::signal(SIGINT, SIG_IGN);
    ::execv(pointers[0], pointers.data());
    ::_exit(127);
  }
  int status = 0;
  bool asked = false;
  while (::waitpid(child, &status, options.interrupt_when && !asked ? WNOHANG : 0) == 0) {
    if (options.interrupt_when()) {
      ::kill(child, SIGINT);
      asked = true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (terminal) write_bytes(errors, terminal->finish());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_bytes(output), read_bytes(errors)};
}

void expect_error(const CommandResult& result, int exit_code, const std::string& part) {
  EXPECT_EQ(result.exit_code, exit_code) << result.errors;
  EXPECT_THAT(result.errors, testing::StartsWith("tare: error: "));
  EXPECT_THAT(result.errors, testing::HasSubstr(part));
  EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 1) << result.errors;
  EXPECT_EQ(result.output, "");
}

std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

onnx::ModelProto small_model() {
  onnx::ModelProto model = empty_model();
  onnx::GraphProto& graph = *model.mutable_graph();
  add_input(graph, "x", {-1, 3, 8, 8});
  add_output(graph, "y", {-1, 4, 8, 8});
  std::vector<float> weights(4 * 3 * 3 * 3);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = 0.01f * static_cast<float>(i % 17) - 0.05f;
  add_initializer(graph, "w", 1, {4, 3, 3, 3}, weights);
  onnx::NodeProto& convolution = add_node(graph, "Conv", {"x", "w"}, {"c"}, "convolution");
  add_integers(convolution, "pads", {1, 1, 1, 1});
  add_node(graph, "Relu", {"c"}, {"y"}, "relu");
  return model;
}

void write_samples(const std::filesystem::path& path, std::int64_t samples, float value, std::int64_t at) {
  Tensor x = Tensor::host(DataType::float32, {samples, 3, 8, 8});
  float* values = x.mutable_data<float>();
  for (std::int64_t i = 0; i < x.elements(); ++i) values[i] = static_cast<float>(i * 37 % 101) / 50.0f - 1.0f;
  if (at < x.elements()) values[at] = value;
  NpzWriter writer(path);
  writer.add("x", x);
  writer.commit();
}

}  // namespace tare::test
