// Odd: matched without backtracking (libstdc++'s "polynomial" flag) a pattern visits every state once a character, but
// it recurses over the states and over parentheses, and runs every lookahead from anew, so that those are looked for
// first.
#include "plan/expression.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace tare {
namespace {

constexpr std::size_t most_states = 10000;
constexpr std::size_t most_depth = 100;

/// How many states a pattern may have at most: its length times all its repetition counts.
std::size_t states_of(std::string_view pattern) {
  constexpr std::size_t many = 1'000'000;
  std::size_t states = pattern.size();
  for (std::size_t at = pattern.find('{'); at != std::string_view::npos; at = pattern.find('{', at + 1)) {
    std::size_t count = 0;
    std::size_t largest = 1;
    for (std::size_t i = at + 1; i < pattern.size() && (pattern[i] == ',' || (pattern[i] >= '0' && pattern[i] <= '9'));
         ++i) {
      count = pattern[i] == ',' ? 0 : std::min(many, count * 10 + static_cast<std::size_t>(pattern[i] - '0'));
      largest = std::max(largest, count);
    }
    states = std::min(many, states * largest);
  }
  return states;
}

/// Where the class that begins at `at` ("[a-z]", "[[:alpha:]_]") ends.
std::size_t end_of_class(std::string_view pattern, std::size_t at) {
  for (std::size_t i = at + 1; i < pattern.size(); ++i) {
    if (pattern[i] == ']') return i;
    if (pattern[i] == '\\') {
      ++i;
      continue;
    }
    if (pattern[i] != '[' || i + 1 >= pattern.size()) continue;
    const char kind = pattern[i + 1];
    if (kind == ':' || kind == '.' || kind == '=')
      i = std::min(pattern.find(std::string{kind, ']'}, i + 2), pattern.size()) + 1;
  }
  return pattern.size();
}

/// What the library would not notice in time; empty: nothing.
std::string trouble_with(std::string_view pattern) {
  if (states_of(pattern) > most_states) return "it is too large; shorten it, or repeat less in it";
  std::size_t depth = 0;
  std::size_t lookahead = 0;  // the depth of the one that is open
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const std::string_view next = pattern.substr(i + 1, 2);
    if (pattern[i] == '[') {
      i = end_of_class(pattern, i);
    } else if (pattern[i] == ')' && depth > 0) {
      if (depth-- == lookahead) lookahead = 0;
    } else if (pattern[i] == '\\') {
      if (!next.empty() && next[0] >= '1' && next[0] <= '9')
        return fmt::format("it refers back to a group with \\{}, which cannot be used here", next[0]);
      i += next.starts_with('c') ? 2 : 1;
    } else if (pattern[i] == '(') {
      if (++depth > most_depth) return fmt::format("its parentheses lie more than {} deep", most_depth);
      if (next != "?=" && next != "?!") continue;
      if (lookahead > 0) return "it has a lookahead, (?= or (?!, within another; write them one after the other";
      lookahead = depth;
    }
  }
  return {};
}

}  // namespace

std::regex compile_expression(const std::string& pattern, const std::function<void(const std::string&)>& refuse) {
  if (const std::string trouble = trouble_with(pattern); !trouble.empty()) refuse(trouble);
  try {
    return std::regex(pattern, std::regex::ECMAScript | std::regex::nosubs | std::regex_constants::__polynomial);
  } catch (const std::regex_error& error) {
    refuse(fmt::format("not a regular expression: {}", error.what()));
    throw;
  }
}

}  // namespace tare
