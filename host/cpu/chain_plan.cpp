#include "cpu/chain_plan.hpp"

#include <algorithm>

namespace tare::cpu {

ChainPlan::ChainPlan(const Graph& graph, const VectorKernels& vector) : graph_(graph) {
  for (const Node& node : graph_.nodes) steps_.push_back(step_of(graph_, node, vector));
  place_results();
}

/// A result that is no output lies in a register from its step to its last reader, which may write over it.
void ChainPlan::place_results() {
  places_.resize(steps_.size());
  std::vector<std::size_t> last_reader(steps_.size());
  for (std::size_t s = 0; s < steps_.size(); ++s)
    for (const Operand& operand : steps_[s].operands)
      if (operand.kind == Operand::Kind::step) last_reader[operand.index] = s;
  std::vector<std::size_t> free;
  for (std::size_t s = 0; s < steps_.size(); ++s) {
    const auto output = std::find(graph_.outputs.begin(), graph_.outputs.end(), graph_.nodes[s].outputs[0]);
    if (output != graph_.outputs.end()) places_[s].output = static_cast<std::int32_t>(output - graph_.outputs.begin());
  }
  for (std::size_t s = 0; s < steps_.size(); ++s) {
    for (std::size_t before = 0; before < s; ++before)
      if (places_[before].output < 0 && last_reader[before] == s) free.push_back(places_[before].register_);
    if (places_[s].output >= 0) continue;
    if (free.empty()) free.push_back(registers_++);
    places_[s].register_ = free.back();
    free.pop_back();
  }
}

namespace {

/// Whether plain dimensions, counted from the last one, are those of `whole` or 1.
bool spreads_to(const Tensor& tensor, const Shape& whole) {
  const Shape& shape = tensor.shape();
  if (shape.rank() > whole.rank()) return false;
  for (std::size_t d = 0; d < shape.rank(); ++d)
    if (shape[d] != 1 && shape[d] != whole[whole.rank() - shape.rank() + d]) return false;
  return tensor.layout() == Layout::plain;
}

}  // namespace

bool ChainPlan::bind(std::span<const Tensor> inputs, ChainRun& run, bool in_one_launch) const {
  const Tensor* whole = &inputs[0];
  for (const Tensor& input : inputs) {
    if (!is_quantizable(input.type()) || input.type() != inputs[0].type()) return false;
    if (input.elements() > whole->elements()) whole = &input;
  }
  run.type = whole->type();
  run.shape = whole->shape();
  run.layout = whole->layout();
  run.elements = whole->elements();
  const std::size_t rank = run.shape.rank();
  if (rank >= 2) {
    run.channels = run.shape[1];
    run.spatial = run.shape.elements(2, rank);
  }
  run.channels_inner = run.layout == Layout::channels_last || run.spatial == 1;
  bool by_channel = false;
  for (const Tensor& input : inputs) {
    run.in.push_back(input.data());
    if (input.shape() == run.shape && input.layout() == run.layout) {
      run.access.push_back(Access::block);
    } else if (input.elements() == 1 && input.rank() <= rank) {
      run.access.push_back(Access::number);
    } else if (rank >= 2 && input.rank() == rank && input.shape()[0] == run.shape[0] &&
               input.shape()[1] == run.channels && input.elements() == run.shape[0] * run.channels) {
      run.access.push_back(Access::channel);
      by_channel = true;
    } else if (in_one_launch && run.layout == Layout::plain && spreads_to(input, run.shape)) {
      run.access.push_back(Access::broadcast);
    } else {
      return false;
    }
  }
  for (const Step& step : steps_) {
    const auto is_whole = [&](const Operand& operand) {
      return operand.kind == Operand::Kind::step ||
             (operand.kind == Operand::Kind::input && run.access[operand.index] == Access::block);
    };
    if (std::none_of(step.operands.begin(), step.operands.end(), is_whole)) return false;
    if (std::any_of(step.operands.begin(), step.operands.end(),
                    [&](const Operand& operand) { return operand.rank > rank; }))
      return false;
    if (step.kind == Step::Kind::row && (!in_one_launch || run.layout != Layout::plain)) return false;
    if (step.kind != Step::Kind::affine) continue;
    if (rank < 2 || static_cast<std::int64_t>(step.affine.factors.size()) != run.channels) return false;
    by_channel = true;
  }
  if (by_channel && run.channels_inner) run.unit = std::max<std::int64_t>(1, run.channels);
  return true;
}

/// An output may lie where an input lay that nobody else holds and that no later step reads.
void ChainPlan::make_outputs(Device& device, std::span<Tensor> inputs, std::span<Tensor> outputs, ChainRun& run,
                             const std::vector<bool>& dropped) const {
  std::vector<std::size_t> last_reader(inputs.size());
  for (std::size_t s = 0; s < steps_.size(); ++s)
    for (const Operand& operand : steps_[s].operands)
      if (operand.kind == Operand::Kind::input) last_reader[operand.index] = s;
  run.out.resize(outputs.size());
  std::vector<bool> reused(inputs.size());
  for (std::size_t s = 0; s < steps_.size(); ++s) {
    if (places_[s].output < 0) continue;
    const auto o = static_cast<std::size_t>(places_[s].output);
    if (o < dropped.size() && dropped[o]) continue;
    for (std::size_t i = 0; i < inputs.size() && !outputs[o].present(); ++i) {
      if (reused[i] || run.access[i] != Access::block || last_reader[i] > s || !inputs[i].unique()) continue;
      outputs[o] = inputs[i];
      reused[i] = true;
    }
    if (!outputs[o].present()) outputs[o] = device.allocate(run.type, run.shape, run.layout);
    run.out[o] = outputs[o].mutable_data();
  }
}

void ChainPlan::run_one_by_one(std::vector<std::unique_ptr<Kernel>>& kernels, std::span<Tensor> inputs,
                               std::span<Tensor> outputs, const MakeKernel& make_kernel) const {
  if (kernels.empty())
    for (const Node& node : graph_.nodes) {
      std::vector<const Tensor*> known;
      for (const ValueId input : node.inputs) known.push_back(input == absent ? nullptr : graph_.constant(input));
      kernels.push_back(make_kernel(graph_, node, known));
    }
  std::vector<Tensor> values(graph_.values.size());
  for (const auto& [value, constant] : graph_.constants) values[static_cast<std::size_t>(value)] = constant;
  for (std::size_t i = 0; i < inputs.size(); ++i) values[static_cast<std::size_t>(graph_.inputs[i])] = inputs[i];
  for (std::size_t s = 0; s < steps_.size(); ++s) {
    const Node& node = graph_.nodes[s];
    std::vector<Tensor> operands;
    for (const ValueId input : node.inputs)
      operands.push_back(input == absent ? Tensor() : values[static_cast<std::size_t>(input)]);
    kernels[s]->run(operands, std::span(&values[static_cast<std::size_t>(node.outputs[0])], 1));
  }
  for (std::size_t o = 0; o < outputs.size(); ++o) outputs[o] = values[static_cast<std::size_t>(graph_.outputs[o])];
}

}  // namespace tare::cpu
