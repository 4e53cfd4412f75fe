// Builds a Graph in one pass a scope: first every name that the scope defines gets its id, then the nodes are read, so
// the order of the file does not matter. Functions are inlined on the way: a call binds the function's names to the
// caller's ids and reads the function's nodes into the caller's graph. Odd: a string tensor in an attribute is read as
// the list of its strings: no operator asks for its shape.
#include "model/graph_builder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "model/proto_fields.hpp"
#include "model/scope.hpp"
#include "model/tensor_proto.hpp"

namespace tare {
namespace {

constexpr int deepest_nesting = 100;                      // bodies and calls inside of each other
constexpr std::size_t most_nodes = std::size_t{1} << 17;  // that functions add: calls within calls grow exponentially

[[noreturn]] void fail(const std::string& what) { throw Error(ErrorKind::model, what); }

class Builder {
 public:
  explicit Builder(std::shared_ptr<ModelSource> source) : source_(std::move(source)) {
    for (const onnx::FunctionProto& function : source_->proto.functions()) {
      const auto key = std::tuple(domain_of(function.domain()), function.name(), overload_of(function));
      if (!functions_
               .emplace(key, Function{&function, read_opsets(function.opset_import()), attribute_defaults(function)})
               .second)
        fail(fmt::format("the function '{}' of domain '{}' is defined twice", function.name(), function.domain()));
    }
  }

  Graph build() {
    const onnx::ModelProto& proto = source_->proto;
    const OpsetImports opsets = read_opsets(proto.opset_import());
    GraphUnderConstruction target;
    Scope scope;
    scope.target = &target;
    scope.opsets = &opsets;
    read_graph(proto.graph(), scope);
    if (target.graph.outputs.empty()) fail("the graph has no outputs: there is nothing to compute");
    return std::move(target.graph);
  }

 private:
  struct Function {
    const onnx::FunctionProto* proto;
    OpsetImports opsets;
    std::vector<onnx::AttributeProto> defaults;
    bool in_use = false;  ///< being inlined: another call inside is a recursion
  };
  using FunctionKey = std::tuple<std::string, std::string, std::string>;

  /// A new value of this scope.
  ValueId define(Scope& scope, const std::string& name, std::string_view kind) {
    if (name.empty()) fail(fmt::format("a {} of graph '{}' has no name", kind, scope.target->graph.name));
    Value value;
    value.name = scope.target->unique_value_name(scope.prefix + name);
    const ValueId id = scope.target->graph.add_value(std::move(value));
    if (!scope.names.emplace(name, id).second)
      fail(fmt::format("the value '{}' is defined twice (the second time as a {}); names must be unique",
                       scope.prefix + name, kind));
    return id;
  }

  /// The id of a name, captured from the scopes around when it is not of this one. `absent` + false: nobody defines it.
  std::pair<ValueId, bool> look_up(Scope& scope, const std::string& name) {
    if (const auto it = scope.names.find(name); it != scope.names.end()) return {it->second, true};
    if (scope.outer == nullptr) return {absent, false};
    const auto [outer, found] = look_up(*scope.outer, name);
    if (!found || outer == absent) return {outer, found};
    Value value = scope.outer->target->graph.value(outer);
    value.name = scope.target->unique_value_name(value.name);
    const ValueId id = scope.target->graph.add_value(std::move(value));
    scope.target->graph.captures.push_back(id);
    scope.outer_captures.push_back(outer);
    scope.names.emplace(name, id);
    return {id, true};
  }

  ValueId resolve(Scope& scope, const std::string& name, const std::string& reader) {
    if (name.empty()) return absent;
    const auto [id, found] = look_up(scope, name);
    if (!found) fail(fmt::format("{} reads '{}', which no node, input or initializer provides", reader, name));
    return id;
  }

  void read_graph(const onnx::GraphProto& proto, Scope& scope) {
    Graph& graph = scope.target->graph;
    graph.name = proto.name();
    std::unordered_set<std::string> initialized;
    for (const onnx::TensorProto& tensor : proto.initializer()) initialized.insert(tensor.name());
    for (const auto& tensor : proto.sparse_initializer()) initialized.insert(tensor.values().name());
    for (const onnx::ValueInfoProto& input : proto.input()) {
      const ValueId id = define(scope, input.name(), "graph input");
      declare(graph.value(id), input.type());
      if (!initialized.contains(input.name())) graph.inputs.push_back(id);
    }
    std::unordered_set<std::string> seen;
    const auto constant_id = [&](const std::string& name) {
      if (!seen.insert(name).second)
        fail(fmt::format("the initializer '{}' is defined twice; names must be unique", name));
      const auto it = scope.names.find(name);
      return it == scope.names.end() ? define(scope, name, "initializer") : it->second;
    };
    for (const onnx::TensorProto& tensor : proto.initializer())
      set_constant(graph, constant_id(tensor.name()),
                   read_tensor(source_, tensor, fmt::format("initializer '{}'", tensor.name())));
    for (const onnx::SparseTensorProto& tensor : proto.sparse_initializer()) {
      const std::string& name = tensor.values().name();
      set_constant(graph, constant_id(name),
                   read_sparse_tensor(source_, tensor, fmt::format("initializer '{}'", name)));
    }
    for (const onnx::NodeProto& node : proto.node()) define_outputs(node, scope);
    for (const onnx::ValueInfoProto& info : proto.value_info())
      if (const auto it = scope.names.find(info.name());
          it != scope.names.end() && !graph.constants.contains(it->second))
        declare(graph.value(it->second), info.type());
    for (const onnx::ValueInfoProto& output : proto.output())
      if (const auto it = scope.names.find(output.name());
          it != scope.names.end() && !graph.constants.contains(it->second))
        declare(graph.value(it->second), output.type());
    read_nodes(proto.node(), scope);
    for (const onnx::ValueInfoProto& output : proto.output()) {
      if (output.name().empty()) fail(fmt::format("an output of graph '{}' has no name", proto.name()));
      graph.outputs.push_back(resolve(scope, output.name(), fmt::format("graph '{}': an output", proto.name())));
    }
    sort_topologically(graph);
  }

  static void set_constant(Graph& graph, ValueId id, Tensor tensor) {
    Value& value = graph.value(id);
    value.type = tensor.type();
    value.shape = tensor.shape();
    graph.constants.emplace(id, std::move(tensor));
  }

  void define_outputs(const onnx::NodeProto& node, Scope& scope) {
    for (const std::string& name : node.output())
      if (!name.empty()) define(scope, name, fmt::format("output of {} '{}'", node.op_type(), node.name()));
  }

  void read_nodes(const google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes, Scope& scope) {
    // Nodes with a name keep it: the numbered ones make room.
    for (const onnx::NodeProto& node : nodes)
      if (!node.name().empty()) reserved_.insert(scope.prefix + node.name());
    for (int i = 0; i < nodes.size(); ++i) {
      const onnx::NodeProto& proto = nodes[i];
      if (scope.inlined && ++nodes_inlined_ > most_nodes)
        throw Error(ErrorKind::unsupported,
                    fmt::format("the model has more than {} nodes once its functions are inlined", most_nodes));
      const std::string name = name_of_node(proto, i, scope);
      const FunctionKey key{domain_of(proto.domain()), proto.op_type(), overload_of(proto)};
      if (const auto function = functions_.find(key); function != functions_.end())
        inline_call(proto, name, function->second, scope);
      else if (proto.op_type() == "Constant" && domain_of(proto.domain()).empty())
        read_constant(proto, name, scope);
      else
        read_node(proto, name, scope);
    }
  }

  std::string name_of_node(const onnx::NodeProto& proto, int index, Scope& scope) {
    if (!proto.name().empty()) return scope.target->unique_node_name(scope.prefix + proto.name());
    std::string wanted = fmt::format("{}{}_{}", scope.prefix, proto.op_type(), index);
    while (reserved_.contains(wanted)) wanted += '_';
    return scope.target->unique_node_name(wanted);
  }

  std::int64_t opset_of(const Scope& scope, const std::string& domain, const std::string& name) {
    const auto it = scope.opsets->find(domain);
    if (it != scope.opsets->end()) return it->second;
    if (domain.empty())
      fail(fmt::format("node '{}': the model does not import an opset for its operators (opset_import)", name));
    return 1;
  }

  void read_node(const onnx::NodeProto& proto, const std::string& name, Scope& scope) {
    Node node;
    node.name = name;
    node.domain = domain_of(proto.domain());
    node.op_type = proto.op_type();
    if (node.op_type.empty()) fail(fmt::format("node '{}' has no operator", name));
    node.opset = opset_of(scope, node.domain, name);
    for (const std::string& input : proto.input()) node.inputs.push_back(resolve(scope, input, node.label()));
    for (const std::string& output : proto.output())
      node.outputs.push_back(output.empty() ? absent : scope.names.at(output));
    for (const onnx::AttributeProto& written : proto.attribute()) {
      const AttributeBinding attribute = bound(written, scope);
      if (attribute.proto == nullptr) continue;
      std::optional<Attribute> value = read_attribute(*attribute.proto, *attribute.scope, scope, node, written.name());
      if (!value) continue;
      if (!node.attributes.emplace(written.name(), std::move(*value)).second)
        fail(fmt::format("{}: attribute '{}' is given twice", node.label(), written.name()));
    }
    const bool gives_nothing =
        std::all_of(node.outputs.begin(), node.outputs.end(), [](ValueId output) { return output == absent; });
    if (!gives_nothing) scope.target->graph.nodes.push_back(std::move(node));
  }

  /// The attribute meant: itself, or what the function's caller (or the function's default) gives for it.
  static AttributeBinding bound(const onnx::AttributeProto& attribute, Scope& scope) {
    if (attribute.ref_attr_name().empty()) return {&attribute, &scope};
    for (Scope* around = &scope; around != nullptr; around = around->outer)
      if (const auto it = around->attributes.find(attribute.ref_attr_name()); it != around->attributes.end())
        return it->second;
    return {};
  }

  std::optional<Attribute> read_attribute(const onnx::AttributeProto& proto, Scope& written_in, Scope& scope,
                                          const Node& node, const std::string& key) {
    const auto what = [&] { return fmt::format("{}: attribute '{}'", node.label(), key); };
    switch (type_of(proto)) {
      case onnx::AttributeProto::FLOAT: return proto.f();
      case onnx::AttributeProto::INT: return std::int64_t{proto.i()};
      case onnx::AttributeProto::STRING: return proto.s();
      case onnx::AttributeProto::FLOATS: return std::vector<float>(proto.floats().begin(), proto.floats().end());
      case onnx::AttributeProto::INTS: return std::vector<std::int64_t>(proto.ints().begin(), proto.ints().end());
      case onnx::AttributeProto::STRINGS:
        return std::vector<std::string>(proto.strings().begin(), proto.strings().end());
      case onnx::AttributeProto::TENSOR:
        if (holds_strings(proto.t())) return strings_of(proto.t());
        return read_tensor(source_, proto.t(), what());
      case onnx::AttributeProto::SPARSE_TENSOR: return read_sparse_tensor(source_, proto.sparse_tensor(), what());
      case onnx::AttributeProto::GRAPH: return read_body(proto.g(), written_in, scope, what());
      case onnx::AttributeProto::TYPE_PROTO: return std::nullopt;  // the type of an Optional: no operator here reads it
      default: break;
    }
    throw Error(ErrorKind::unsupported,
                fmt::format("{}: attributes of kind {} cannot be held", what(), static_cast<int>(proto.type())));
  }

  Subgraph read_body(const onnx::GraphProto& proto, Scope& written_in, Scope& scope, const std::string& what) {
    if (written_in.target != scope.target)
      throw Error(ErrorKind::unsupported, what + ": a body handed through a function into another body cannot be read");
    GraphUnderConstruction target;
    Scope body;
    body.outer = &written_in;
    body.target = &target;
    body.opsets = written_in.opsets;
    body.inlined = scope.inlined || written_in.inlined;
    body.depth = deeper(scope, what);
    read_graph(proto, body);
    return {std::make_shared<const Graph>(std::move(target.graph)), std::move(body.outer_captures)};
  }

  static int deeper(const Scope& scope, const std::string& what) {
    if (scope.depth >= deepest_nesting)
      fail(fmt::format("{}: bodies and functions are nested more than {} deep", what, deepest_nesting));
    return scope.depth + 1;
  }

  void read_constant(const onnx::NodeProto& proto, const std::string& name, Scope& scope) {
    const std::string what = fmt::format("Constant '{}'", name);
    if (proto.output_size() != 1 || proto.output(0).empty()) fail(what + " must have one output");
    const ValueId id = scope.names.at(proto.output(0));
    Graph& graph = scope.target->graph;
    for (const onnx::AttributeProto& written : proto.attribute()) {
      const AttributeBinding attribute = bound(written, scope);
      if (attribute.proto == nullptr || (!written.name().starts_with("value") && written.name() != "sparse_value"))
        continue;
      const onnx::AttributeProto& value = *attribute.proto;
      switch (type_of(value)) {
        case onnx::AttributeProto::TENSOR: return set_constant(graph, id, read_tensor(source_, value.t(), what));
        case onnx::AttributeProto::SPARSE_TENSOR:
          return set_constant(graph, id, read_sparse_tensor(source_, value.sparse_tensor(), what));
        case onnx::AttributeProto::FLOAT: {
          const float scalar = value.f();
          return set_constant(graph, id, Tensor::of<float>({}, {&scalar, 1}));
        }
        case onnx::AttributeProto::INT: {
          const std::int64_t scalar = value.i();
          return set_constant(graph, id, Tensor::of<std::int64_t>({}, {&scalar, 1}));
        }
        case onnx::AttributeProto::FLOATS: {
          const std::vector<float> list(value.floats().begin(), value.floats().end());
          return set_constant(graph, id, Tensor::of<float>({value.floats_size()}, list));
        }
        case onnx::AttributeProto::INTS: {
          const std::vector<std::int64_t> list(value.ints().begin(), value.ints().end());
          return set_constant(graph, id, Tensor::of<std::int64_t>({value.ints_size()}, list));
        }
        case onnx::AttributeProto::STRING: return set_constant(graph, id, Tensor::of<std::string>({}, {&value.s(), 1}));
        case onnx::AttributeProto::STRINGS: {
          const std::vector<std::string> list(value.strings().begin(), value.strings().end());
          return set_constant(graph, id, Tensor::of<std::string>({value.strings_size()}, list));
        }
        default: fail(fmt::format("{}: attribute '{}' is no value", what, written.name()));
      }
    }
    fail(what + " has no value");
  }

  void inline_call(const onnx::NodeProto& call, const std::string& name, Function& function, Scope& caller) {
    const onnx::FunctionProto& proto = *function.proto;
    const std::string what = fmt::format("{} '{}'", call.op_type(), name);
    if (function.in_use) fail(fmt::format("{}: the function '{}' calls itself", what, proto.name()));
    if (call.input_size() > proto.input_size() || call.output_size() > proto.output_size())
      fail(fmt::format("{}: the function takes {} inputs and gives {} outputs, the call has {} and {}", what,
                       proto.input_size(), proto.output_size(), call.input_size(), call.output_size()));
    Scope scope;
    scope.target = caller.target;
    scope.prefix = name + "/";
    scope.opsets = &function.opsets;
    scope.inlined = true;
    scope.depth = deeper(caller, what);
    for (int i = 0; i < proto.input_size(); ++i) {
      const ValueId id = i < call.input_size() ? resolve(caller, call.input(i), what) : absent;
      if (!scope.names.emplace(proto.input(i), id).second)
        fail(fmt::format("{}: the function's input '{}' stands twice", what, proto.input(i)));
    }
    // The caller's attributes win over the function's defaults; one without either is left out.
    for (const onnx::AttributeProto& attribute : call.attribute())
      if (const AttributeBinding binding = bound(attribute, caller); binding.proto != nullptr)
        scope.attributes.emplace(attribute.name(), binding);
    for (const onnx::AttributeProto& attribute : function.defaults)
      scope.attributes.emplace(attribute.name(), AttributeBinding{&attribute, &scope});

    std::unordered_map<std::string, ValueId> results;  // inner name → the caller's value
    std::vector<std::pair<std::string, ValueId>> copies;
    for (int i = 0; i < call.output_size(); ++i) {
      if (call.output(i).empty()) continue;
      const ValueId id = caller.names.at(call.output(i));
      if (scope.names.contains(proto.output(i)) || !results.emplace(proto.output(i), id).second)
        copies.emplace_back(proto.output(i), id);
    }
    for (const onnx::NodeProto& node : proto.node())
      for (const std::string& output : node.output()) {
        if (output.empty()) continue;
        if (const auto it = results.find(output); it == results.end())
          define(scope, output, fmt::format("output of {}", node.op_type()));
        else if (!scope.names.emplace(output, it->second).second)
          fail(fmt::format("{}: the function's value '{}' is defined twice", what, output));
      }
    for (const auto& [inner, id] : results)
      if (!scope.names.contains(inner))
        fail(fmt::format("{}: the function's output '{}' is not provided by any of its nodes", what, inner));
    function.in_use = true;
    read_nodes(proto.node(), scope);
    function.in_use = false;
    for (const auto& [inner, id] : copies) copy(scope, inner, id, what);
  }

  /// An output of a function that is one of its inputs, or one of its other outputs.
  void copy(Scope& scope, const std::string& inner, ValueId to, const std::string& what) {
    const ValueId from = scope.names.at(inner);
    if (from == absent)
      fail(fmt::format("{}: its output is the function's input '{}', which is not given", what, inner));
    Node node;
    node.op_type = "Identity";
    node.name = scope.target->unique_node_name(scope.prefix + inner);
    const auto opset = scope.opsets->find("");
    node.opset = opset == scope.opsets->end() ? 1 : opset->second;
    node.inputs = {from};
    node.outputs = {to};
    scope.target->graph.nodes.push_back(std::move(node));
  }

  std::shared_ptr<ModelSource> source_;
  std::map<FunctionKey, Function> functions_;
  std::unordered_set<std::string> reserved_;
  std::size_t nodes_inlined_ = 0;
};

}  // namespace

Graph build_graph(const std::shared_ptr<ModelSource>& source) { return Builder(source).build(); }

}  // namespace tare
