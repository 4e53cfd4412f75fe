// Regular expressions (ECMAScript's) that users and models give. The standard library matches them with backtracking
// and sets no limits; here no pattern takes exponential time or overflows the stack.
#pragma once

#include <functional>
#include <regex>
#include <string>

namespace tare {

/// For std::regex_match; groups are not kept. `refuse` is told what is wrong with the pattern, and throws.
std::regex compile_expression(const std::string& pattern, const std::function<void(const std::string&)>& refuse);

}  // namespace tare
