#include "plan/simplify.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <unordered_set>

#include "plan/control_flow.hpp"

namespace tare {
namespace {

bool is_pass_through(const Node& node) {
  if (!node.domain.empty() || node.inputs.empty() || node.inputs[0] == absent) return false;
  if (node.op_type == "Identity") return node.inputs.size() == 1;
  // The mask of a Dropout is a value of its own, and training_mode may be fed.
  if (node.op_type != "Dropout" || (node.inputs.size() > 2 && node.inputs[2] != absent)) return false;
  return node.outputs.size() < 2 || node.outputs[1] == absent;
}

bool is_random(const Node& node) {
  return node.op_type.starts_with("Random") || node.op_type == "Multinomial" || node.op_type == "Bernoulli";
}

void replace_uses(Graph& graph, const std::vector<ValueId>& target) {
  const auto map = [&](ValueId& value) {
    if (value != absent) value = target[static_cast<std::size_t>(value)];
  };
  for (Node& node : graph.nodes) {
    for (ValueId& input : node.inputs) map(input);
    for (auto& [key, attribute] : node.attributes)
      if (Subgraph* body = std::get_if<Subgraph>(&attribute))
        for (ValueId& capture : body->captures) map(capture);
  }
}

void drop_pass_through(Graph& graph, const std::vector<bool>& visible) {
  std::vector<ValueId> target(graph.values.size());
  for (std::size_t i = 0; i < target.size(); ++i) target[i] = static_cast<ValueId>(i);
  std::vector<bool> is_output(graph.values.size(), false);
  for (const ValueId output : graph.outputs) is_output[static_cast<std::size_t>(output)] = true;
  std::erase_if(graph.nodes, [&](const Node& node) {
    if (!is_pass_through(node)) return false;
    const auto out = static_cast<std::size_t>(node.outputs[0]);
    if (visible[out] || is_output[out]) return false;
    target[out] = target[static_cast<std::size_t>(node.inputs[0])];  // nodes are in order: the source is final
    return true;
  });
  replace_uses(graph, target);
}

void fold_constants(Graph& graph, const std::vector<bool>& visible, Backend& backend) {
  std::unordered_set<ValueId> outputs(graph.outputs.begin(), graph.outputs.end());
  std::erase_if(graph.nodes, [&](const Node& node) {
    if (node.outputs.empty() || is_control_flow(node) || is_random(node)) return false;
    std::vector<const Tensor*> constants;
    for (const ValueId input : node.inputs) {
      const Tensor* constant = input == absent ? nullptr : graph.constant(input);
      if (input != absent && constant == nullptr) return false;
      constants.push_back(constant);
    }
    for (const ValueId output : node.outputs)
      if (output != absent && (visible[static_cast<std::size_t>(output)] || outputs.contains(output))) return false;
    if (!backend.unsupported(graph, node).empty()) return false;
    try {
      std::vector<Tensor> in;
      for (const Tensor* constant : constants) in.push_back(constant == nullptr ? Tensor() : backend.upload(*constant));
      std::vector<Tensor> out(node.outputs.size());
      backend.compile(graph, node, constants)->run(in, out);
      for (std::size_t i = 0; i < out.size(); ++i)
        if (node.outputs[i] != absent) graph.constants.insert_or_assign(node.outputs[i], backend.download(out[i]));
      return true;
    } catch (const Error&) {
      return false;
    }
  });
}

void drop_dead(Graph& graph, const std::vector<bool>& visible) {
  std::vector<bool> needed = visible;
  for (const ValueId output : graph.outputs) needed[static_cast<std::size_t>(output)] = true;
  std::vector<Node> kept;
  for (auto it = graph.nodes.rbegin(); it != graph.nodes.rend(); ++it) {
    const bool used = std::any_of(it->outputs.begin(), it->outputs.end(),
                                  [&](ValueId v) { return v != absent && needed[static_cast<std::size_t>(v)]; });
    if (!used) continue;
    for (const ValueId input : it->inputs)
      if (input != absent) needed[static_cast<std::size_t>(input)] = true;
    for (const auto& [key, attribute] : it->attributes)
      if (const Subgraph* body = std::get_if<Subgraph>(&attribute))
        for (const ValueId capture : body->captures) needed[static_cast<std::size_t>(capture)] = true;
    kept.push_back(std::move(*it));
  }
  graph.nodes.assign(std::make_move_iterator(kept.rbegin()), std::make_move_iterator(kept.rend()));
  std::erase_if(graph.constants, [&](const auto& entry) { return !needed[static_cast<std::size_t>(entry.first)]; });
}

using NodesByOp = std::map<std::string, std::vector<std::string>>;

/// Nodes for which remark(graph, node) is not empty, by operator and remark.
template <class Remark>
void collect(const Graph& graph, Remark&& remark, NodesByOp& found) {
  for (const Node& node : graph.nodes) {
    if (is_control_flow(node)) {
      for (const auto& [key, attribute] : node.attributes)
        if (const Subgraph* body = std::get_if<Subgraph>(&attribute)) collect(*body->graph, remark, found);
      continue;
    }
    const std::string text = remark(graph, node);
    if (text.empty()) continue;
    const std::string op = node.domain.empty() ? node.op_type : node.domain + "::" + node.op_type;
    found[fmt::format("{} ({})", op, text)].push_back(node.name);
  }
}

std::string line_of(const std::string& op, const std::vector<std::string>& nodes) {
  const std::size_t shown = std::min<std::size_t>(nodes.size(), 8);
  return fmt::format("{}: {}{}", op, fmt::join(nodes.begin(), nodes.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                     shown < nodes.size() ? fmt::format(" and {} more", nodes.size() - shown) : "");
}

}  // namespace

Graph simplify(Graph graph, const std::vector<bool>& visible, Backend& backend) {
  drop_pass_through(graph, visible);
  drop_dead(graph, visible);
  fold_constants(graph, visible, backend);
  drop_dead(graph, visible);
  return graph;
}

void check_supported(const Graph& graph, const Backend& backend) {
  NodesByOp offenders;
  collect(
      graph, [&](const Graph& g, const Node& node) { return backend.unsupported(g, node); }, offenders);
  if (offenders.empty()) return;
  std::string message = fmt::format("{} operator{} of this model cannot run on {}:", offenders.size(),
                                    offenders.size() == 1 ? "" : "s", backend.name());
  for (const auto& [op, nodes] : offenders) message += "\n  " + line_of(op, nodes);
  throw Error(ErrorKind::unsupported, message);
}

std::vector<std::string> list_fallbacks(const Graph& graph, const Backend& backend) {
  NodesByOp found;
  collect(
      graph,
      [&](const Graph& g, const Node& node) {
        const std::string where = backend.fallback(g, node);
        return where.empty() ? where : "on " + where;
      },
      found);
  std::vector<std::string> lines;
  for (const auto& [op, nodes] : found) lines.push_back(line_of(op, nodes));
  return lines;
}

}  // namespace tare
