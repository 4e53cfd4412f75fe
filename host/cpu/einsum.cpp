#include "cpu/einsum.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace tare::cpu {
namespace {

constexpr int ellipsis_base = 256;

bool contains(const Labels& labels, int label) {
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

/// `ellipsis`: how many dimensions "..." stands for here; a negative number asks for none.
Labels parse_term(const Call& call, const std::string& term, std::int64_t ellipsis) {
  Labels labels;
  bool seen = false;
  for (std::size_t i = 0; i < term.size(); ++i) {
    if (term[i] == '.') {
      if (term.compare(i, 3, "...") != 0 || seen) call.fail("a stray '.' in the equation");
      seen = true;
      for (std::int64_t k = ellipsis; k-- > 0;) labels.push_back(ellipsis_base + static_cast<int>(k));
      i += 2;
    } else if ((term[i] >= 'a' && term[i] <= 'z') || (term[i] >= 'A' && term[i] <= 'Z')) {
      labels.push_back(term[i]);
    } else {
      call.fail(fmt::format("'{}' in the equation is no letter", term[i]));
    }
  }
  return labels;
}

}  // namespace

Equation parse_equation(const Call& call) {
  std::string text = call.node.text("equation");
  std::erase(text, ' ');
  const std::size_t arrow = text.find("->");
  const std::string left = text.substr(0, arrow);
  Equation equation;
  std::int64_t widest = 0;
  std::size_t begin = 0;
  for (std::size_t i = 0;; ++i) {
    const std::size_t end = std::min(left.find(',', begin), left.size());
    const std::string term = left.substr(begin, end - begin);
    const Shape& shape = call.input(i).shape();
    const auto letters =
        static_cast<std::int64_t>(std::count_if(term.begin(), term.end(), [](char c) { return c != '.'; }));
    const std::int64_t ellipsis = static_cast<std::int64_t>(shape.rank()) - letters;
    const bool has_ellipsis = term.find('.') != std::string::npos;
    if (ellipsis < 0 || (ellipsis > 0 && !has_ellipsis))
      call.fail(fmt::format("the term '{}' does not fit the shape {}", term, shape.text()));
    widest = std::max(widest, ellipsis);
    equation.inputs.push_back(parse_term(call, term, ellipsis));
    for (std::size_t d = 0; d < shape.rank(); ++d) {
      std::int64_t& size = equation.sizes.try_emplace(equation.inputs.back()[d], 1).first->second;
      if (size != shape[d] && size != 1 && shape[d] != 1)
        call.fail(
            fmt::format("dimension {} of input {} is {}, but the same label is {} elsewhere", d, i, shape[d], size));
      if (size == 1) size = shape[d];
    }
    if (end == left.size()) break;
    begin = end + 1;
  }
  if (equation.inputs.size() != call.inputs.size())
    call.fail(fmt::format("{} terms for {} inputs", equation.inputs.size(), call.inputs.size()));
  if (arrow != std::string::npos) {
    equation.output = parse_term(call, text.substr(arrow + 2), widest);
    for (std::size_t i = 0; i < equation.output.size(); ++i)
      if (!equation.sizes.contains(equation.output[i]) ||
          std::find(equation.output.begin() + static_cast<std::ptrdiff_t>(i) + 1, equation.output.end(),
                    equation.output[i]) != equation.output.end())
        call.fail("the output of the equation repeats a label or names one that no input has");
    return equation;
  }
  for (std::int64_t k = widest; k-- > 0;) equation.output.push_back(ellipsis_base + static_cast<int>(k));
  std::map<int, int> uses;
  for (const Labels& labels : equation.inputs)
    for (const int label : labels) ++uses[label];
  for (const auto& [label, count] : uses)
    if (label < ellipsis_base && count == 1) equation.output.push_back(label);
  return equation;
}

Labels Equation::needed_after(std::size_t input) const {
  Labels needed = output;
  for (std::size_t k = input + 1; k < inputs.size(); ++k)
    needed.insert(needed.end(), inputs[k].begin(), inputs[k].end());
  return needed;
}

Packing packing(const Labels& labels, const std::vector<std::int64_t>& dims, const Labels& kept, const Sizes& sizes) {
  const auto axis_for = [&](int label) {
    Axis axis{sizes.at(label), 0};
    std::int64_t stride = 1;
    for (std::size_t d = labels.size(); d-- > 0;) {
      if (labels[d] == label && dims[d] != 1) axis.stride += stride;
      stride *= dims[d];
    }
    return axis;
  };
  Packing result;
  for (const int label : kept) result.kept.push_back(axis_for(label));
  Labels seen = kept;
  for (const int label : labels) {
    if (contains(seen, label)) continue;
    seen.push_back(label);
    result.summed.push_back(axis_for(label));
  }
  return result;
}

std::int64_t steps_of(const std::vector<Axis>& axes) {
  std::int64_t steps = 1;
  for (const Axis& axis : axes) steps *= axis.size;
  return steps;
}

std::int64_t product(const Labels& labels, const Sizes& sizes) {
  std::int64_t n = 1;
  for (const int label : labels) n *= sizes.at(label);
  return n;
}

Labels Contraction::joined(Labels first, const Labels& second, const Labels& third) {
  first.insert(first.end(), second.begin(), second.end());
  first.insert(first.end(), third.begin(), third.end());
  return first;
}

Contraction contraction(const Labels& a, const Labels& b, const Labels& needed) {
  Contraction pair;
  for (const int label : a) {
    Labels& group = contains(b, label) ? (contains(needed, label) ? pair.batch : pair.inner) : pair.rows;
    if (!contains(group, label) && (&group != &pair.rows || contains(needed, label))) group.push_back(label);
  }
  for (const int label : b)
    if (!contains(a, label) && contains(needed, label) && !contains(pair.columns, label)) pair.columns.push_back(label);
  return pair;
}

}  // namespace tare::cpu
