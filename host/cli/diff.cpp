#include "cli/options.hpp"
namespace tare::cli {
void add_diff(CLI::App&, Action&) {}
}  // namespace tare::cli
