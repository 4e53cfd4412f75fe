#include "cli/options.hpp"
namespace tare::cli {
void add_evaluate(CLI::App&, Action&) {}
}  // namespace tare::cli
