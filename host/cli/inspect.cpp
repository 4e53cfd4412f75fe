#include "cli/options.hpp"
namespace tare::cli {
void add_inspect(CLI::App&, Action&) {}
}  // namespace tare::cli
