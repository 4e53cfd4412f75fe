#include "plan/simplify.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <unordered_set>

#include "plan/control_flow.hpp"
#include "plan/misfits.hpp"

namespace tare {
namespace {

bool is_pass_through(const Graph& graph, const Node& node) {
  if (!node.domain.empty() || node.inputs.empty() || node.inputs[0] == absent) return false;
  if (node.op_type == "Identity") return node.inputs.size() == 1;
  if (node.op_type == "Cast") {
    const DataType from = graph.value(node.inputs[0]).type;
    return from != DataType::undefined && node.integer("to", 0) == static_cast<std::int64_t>(from);
  }
  // The mask of a Dropout is a value of its own, and training_mode may be fed.
  if (node.op_type != "Dropout" || (node.inputs.size() > 2 && node.inputs[2] != absent)) return false;
  return node.outputs.size() < 2 || node.outputs[1] == absent;
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
    if (!is_pass_through(graph, node)) return false;
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
      in.reserve(constants.size());
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

struct Needed {
  std::vector<bool> values;
  std::vector<bool> nodes;
};

/// What the outputs need, and these values.
Needed needed_for(const Graph& graph, std::vector<bool> values) {
  Needed needed{std::move(values), std::vector<bool>(graph.nodes.size(), false)};
  const auto need = [&](ValueId value) {
    if (value != absent) needed.values[static_cast<std::size_t>(value)] = true;
  };
  for (const ValueId output : graph.outputs) need(output);
  for (std::size_t n = graph.nodes.size(); n-- > 0;) {
    const Node& node = graph.nodes[n];
    needed.nodes[n] = std::any_of(node.outputs.begin(), node.outputs.end(),
                                  [&](ValueId v) { return v != absent && needed.values[static_cast<std::size_t>(v)]; });
    if (!needed.nodes[n]) continue;
    for (const ValueId input : node.inputs) need(input);
    for (const auto& [key, attribute] : node.attributes)
      if (const Subgraph* body = std::get_if<Subgraph>(&attribute))
        for (const ValueId capture : body->captures) need(capture);
  }
  return needed;
}

/// By node: some output needs it.
std::vector<bool> needed_nodes(const Graph& graph) {
  return needed_for(graph, std::vector<bool>(graph.values.size(), false)).nodes;
}

void drop_dead(Graph& graph, const std::vector<bool>& visible) {
  const Needed needed = needed_for(graph, visible);
  std::size_t n = 0;
  std::erase_if(graph.nodes, [&](const Node&) { return !needed.nodes[n++]; });
  std::erase_if(graph.constants,
                [&](const auto& entry) { return !needed.values[static_cast<std::size_t>(entry.first)]; });
}

using NodesByOp = std::map<std::string, std::vector<std::string>>;

template <class Visit>
void visit_bodies(const Node& node, Visit&& visit) {
  for (const auto& [key, attribute] : node.attributes)
    if (const Subgraph* body = std::get_if<Subgraph>(&attribute)) visit(*body->graph);
}

/// Needed nodes for which remark(graph, node) is not empty, by operator and remark.
template <class Remark>
void collect(const Graph& graph, Remark&& remark, NodesByOp& found) {
  const std::vector<bool> needed = needed_nodes(graph);
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (!needed[n]) continue;
    if (is_control_flow(node)) {
      visit_bodies(node, [&](const Graph& body) { collect(body, remark, found); });
      continue;
    }
    const std::string text = remark(graph, node);
    if (text.empty()) continue;
    const std::string op = node.domain.empty() ? node.op_type : node.domain + "::" + node.op_type;
    found[fmt::format("{} ({})", op, text)].push_back(node.name);
  }
}

/// "Op (why): a, b, c", broken into lines that a terminal takes; names are never cut.
std::string lines_of(const std::string& op, const std::vector<std::string>& nodes) {
  constexpr std::size_t width = 100;
  std::string text = fmt::format("\n  {}:", op);
  std::size_t begin = 1;  // of the last line
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (i > 0 && text.size() - begin + nodes[i].size() + 2 > width) {
      begin = text.size() + 1;
      text += "\n   ";
    }
    text += fmt::format(" {}{}", nodes[i], i + 1 < nodes.size() ? "," : "");
  }
  return text;
}

void collect_misfits(const Graph& graph, bool is_body, std::vector<std::string>& found) {
  const std::vector<std::string> misfits = find_misfits(graph, is_body);
  const std::vector<bool> needed = needed_nodes(graph);
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    if (!needed[n]) continue;
    if (!misfits[n].empty()) found.push_back(fmt::format("{}: {}", graph.nodes[n].label(), misfits[n]));
    visit_bodies(graph.nodes[n], [&](const Graph& body) { collect_misfits(body, true, found); });
  }
}

}  // namespace

bool is_random(const Node& node) {
  return node.op_type.starts_with("Random") || node.op_type == "Multinomial" || node.op_type == "Bernoulli";
}

Graph simplify(Graph graph, const std::vector<bool>& visible, Backend& backend) {
  drop_pass_through(graph, visible);
  drop_dead(graph, visible);
  fold_constants(graph, visible, backend);
  drop_dead(graph, visible);
  return graph;
}

void drop_dead_that_cannot_run(Graph& graph, const Backend& backend) {
  const std::vector<bool> needed = needed_nodes(graph);
  const std::vector<std::string> misfits = find_misfits(graph);
  std::vector<bool> gone(graph.values.size(), false);
  std::vector<Node> kept;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    Node& node = graph.nodes[n];
    const bool reads_nothing_gone = std::none_of(node.inputs.begin(), node.inputs.end(), [&](ValueId v) {
      return v != absent && gone[static_cast<std::size_t>(v)];
    });
    // A dead node with bodies goes in any case: it would have to be looked through.
    if (needed[n] || (reads_nothing_gone && !is_control_flow(node) && misfits[n].empty() &&
                      backend.unsupported(graph, node).empty())) {
      kept.push_back(std::move(node));
      continue;
    }
    for (const ValueId output : node.outputs)
      if (output != absent) gone[static_cast<std::size_t>(output)] = true;
  }
  graph.nodes = std::move(kept);
}

void check_supported(const Graph& graph, const Backend& backend) {
  NodesByOp offenders;
  collect(
      graph, [&](const Graph& g, const Node& node) { return backend.unsupported(g, node); }, offenders);
  if (offenders.empty()) return;
  std::string message = fmt::format("{} operator{} of this model cannot run on {}:", offenders.size(),
                                    offenders.size() == 1 ? "" : "s", backend.name());
  for (const auto& [op, nodes] : offenders) message += lines_of(op, nodes);
  throw Error(ErrorKind::unsupported, message);
}

void check_sound(const Graph& graph) {
  std::vector<std::string> misfits;
  collect_misfits(graph, false, misfits);
  if (!misfits.empty()) throw Error(ErrorKind::model, list_of_broken_nodes(misfits));
}

std::string list_of_broken_nodes(const std::vector<std::string>& nodes) {
  return fmt::format("{} node{} of this model cannot run, mend or export it again: {}", nodes.size(),
                     nodes.size() == 1 ? "" : "s", fmt::join(nodes, "; "));
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
  for (const auto& [op, nodes] : found) lines.push_back(fmt::format("{}: {}", op, fmt::join(nodes, ", ")));
  return lines;
}

}  // namespace tare
