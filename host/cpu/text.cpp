// Operators on strings. Few and short inputs: no threads.
// Odd: letters change case in ASCII only, whatever `locale` says.
#include "cpu/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "cpu/arguments.hpp"
#include "cpu/binary.hpp"
#include "plan/expression.hpp"

namespace tare::cpu {
namespace {

const Tensor& texts_of(const Call& call, std::size_t input) {
  const Tensor& tensor = call.input(input);
  if (tensor.type() != DataType::string)
    call.fail(fmt::format("input {} must be strings, not {}", input, name_of(tensor.type())));
  return tensor;
}

std::string with_case(std::string text, bool upper) {
  for (char& c : text) {
    if (upper && c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    if (!upper && c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

void string_normalizer(Call& call) {
  const Tensor in = texts_of(call, 0);
  const bool row = in.rank() == 2 && in.shape()[0] == 1;
  if (in.rank() != 1 && !row) call.fail(fmt::format("needs the shape [C] or [1,C], not {}", in.shape().text()));
  const std::string action = call.node.text("case_change_action", "NONE");
  if (action != "NONE" && action != "LOWER" && action != "UPPER")
    call.fail(fmt::format("unknown case_change_action '{}'", action));
  const bool sensitive = call.node.integer("is_case_sensitive", 0) != 0;
  const auto key = [&](const std::string& text) { return sensitive ? text : with_case(text, false); };
  std::set<std::string> stopwords;
  for (const std::string& word : call.node.texts("stopwords")) stopwords.insert(key(word));
  std::vector<std::string> kept;
  for (const std::string& word : in.span<std::string>())
    if (!stopwords.contains(key(word))) kept.push_back(action == "NONE" ? word : with_case(word, action == "UPPER"));
  if (kept.empty()) kept.emplace_back();  // ONNX: nothing left is one empty string
  const auto count = static_cast<std::int64_t>(kept.size());
  Tensor& out = call.output(0, DataType::string, row ? Shape{1, count} : Shape{count});
  std::move(kept.begin(), kept.end(), out.mutable_data<std::string>());
}

void string_concat(Call& call) {
  call.outputs[0] =
      combine<std::string, std::string, std::string>(call, texts_of(call, 0), texts_of(call, 1), DataType::string,
                                                     [](const std::string& a, const std::string& b) { return a + b; });
}

/// At most `most` + 1 parts. No delimiter: runs of white space separate, and none stand at the ends.
std::vector<std::string> split(const std::string& text, const std::string& delimiter, std::size_t most) {
  std::vector<std::string> parts;
  if (!delimiter.empty()) {
    std::size_t at = 0;
    for (std::size_t next = 0; parts.size() < most; at = next + delimiter.size()) {
      next = text.find(delimiter, at);
      if (next == std::string::npos) break;
      parts.push_back(text.substr(at, next - at));
    }
    parts.push_back(text.substr(at));
    return parts;
  }
  constexpr const char* blanks = " \t\n\r\f\v";
  for (std::size_t at = text.find_first_not_of(blanks); at != std::string::npos;) {
    const std::size_t end = parts.size() < most ? text.find_first_of(blanks, at) : std::string::npos;
    parts.push_back(text.substr(at, end - at));
    at = end == std::string::npos ? end : text.find_first_not_of(blanks, end);
  }
  return parts;
}

void string_split(Call& call) {
  const Tensor in = texts_of(call, 0);
  const std::string delimiter = call.node.text("delimiter", "");
  const std::int64_t most = call.node.integer("maxsplit", std::numeric_limits<std::int64_t>::max());
  if (most < 0) call.fail(fmt::format("maxsplit of {}", most));
  std::vector<std::vector<std::string>> parts;
  std::size_t widest = 0;
  for (const std::string& text : in.span<std::string>()) {
    parts.push_back(split(text, delimiter, static_cast<std::size_t>(most)));
    widest = std::max(widest, parts.back().size());
  }
  Shape shape = in.shape();
  Tensor counts = call.device.allocate(DataType::int64, shape);
  shape.push_back(static_cast<std::int64_t>(widest));
  Tensor texts = call.device.allocate(DataType::string, shape);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    counts.mutable_data<std::int64_t>()[i] = static_cast<std::int64_t>(parts[i].size());
    std::move(parts[i].begin(), parts[i].end(), texts.mutable_data<std::string>() + i * widest);
  }
  call.outputs[0] = texts;
  if (call.outputs.size() > 1) call.outputs[1] = counts;
}

void regex_full_match(Call& call) {
  const Tensor in = texts_of(call, 0);
  const std::string pattern = call.node.text("pattern");
  const std::regex expression = compile_expression(pattern, [&](const std::string& why) {
    call.fail(fmt::format("the pattern '{}' cannot be used: {}", pattern.substr(0, 100), why));
  });
  Tensor out = call.device.allocate(DataType::boolean, in.shape());
  for (std::int64_t i = 0; i < in.elements(); ++i)
    out.mutable_data<bool>()[i] = std::regex_match(in.data<std::string>()[i], expression);
  call.outputs[0] = out;
}

template <class T>
std::string text_of(T number) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number > 0 ? "INF" : "-INF";
    return fmt::format("{}", number);
  } else if constexpr (std::is_same_v<T, bool>) {
    return number ? "1" : "0";
  } else {
    return fmt::format("{}", static_cast<std::conditional_t<std::is_signed_v<T>, std::int64_t, std::uint64_t>>(number));
  }
}

template <class T>
T number_of(const Call& call, const std::string& text) {
  const char* first = text.data();
  const char* last = first + text.size();
  while (first != last && (*first == ' ' || *first == '\t' || *first == '\n' || *first == '\r')) ++first;
  while (first != last && (last[-1] == ' ' || last[-1] == '\t' || last[-1] == '\n' || last[-1] == '\r')) --last;
  if (last - first > 1 && *first == '+' && first[1] != '-') ++first;
  T number{};
  const auto [end, error] = std::from_chars(first, last, number);
  if (error != std::errc{} || end != last) call.fail(fmt::format("'{}' is no number that can be held", text));
  return number;
}

}  // namespace

Tensor number_to_text(const Call& call, const Tensor& numbers) {
  Tensor texts = Tensor::host(DataType::string, numbers.shape(), numbers.layout());
  dispatch(numbers.type(), call, [&]<class T>() {
    std::transform(numbers.data<T>(), numbers.data<T>() + numbers.elements(), texts.mutable_data<std::string>(),
                   [](T number) { return text_of(number); });
  });
  return texts;
}

Tensor text_to_number(const Call& call, const Tensor& texts, bool integers) {
  const auto convert = [&]<class T>() {
    Tensor numbers = call.device.allocate(type_of<T>(), texts.shape(), texts.layout());
    std::transform(texts.data<std::string>(), texts.data<std::string>() + texts.elements(), numbers.mutable_data<T>(),
                   [&](const std::string& text) { return number_of<T>(call, text); });
    return numbers;
  };
  return integers ? convert.operator()<std::int64_t>() : convert.operator()<double>();
}

void register_text(OperatorTable& table) {
  const auto add = [&](std::string_view name, Function function) {
    table.add(name, Operator{.function = function, .half = Half::native, .objects = true});
  };
  add("StringNormalizer", checked<string_normalizer>);
  add("StringConcat", checked<string_concat, 2>);
  add("StringSplit", checked<string_split>);
  add("RegexFullMatch", checked<regex_full_match>);
  register_labels(table);
}

}  // namespace tare::cpu
