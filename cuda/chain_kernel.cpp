// Chains on the device: from the plan of host/cpu/chain_plan.hpp to a program of one launch. Odd: what the program has
// no room for (many steps, many results that wait) and shapes that need other loops run step by step.
#include <algorithm>
#include <array>

#include "chain.hpp"
#include "chain_kernel.hpp"
#include "cpu/chain_plan.hpp"
#include "float_element.hpp"
#include "observer.hpp"
#include "plan/row_operation.hpp"
#include "quantize.hpp"

namespace tare::cuda {
namespace {

class ChainKernel final : public Kernel {
 public:
  ChainKernel(const Node& node, Device& device, CompileStep compile_step)
      : device_(device),
        plan_(*node.subgraph("steps").graph, device.vector()),
        compile_step_(std::move(compile_step)),
        least_counted_bytes_(cached_bytes()),
        most_taps_(taps_of_a_launch()) {
    fits_ = lay_out();
  }

  bool takes_taps() const override { return true; }

  void run(std::span<Tensor> inputs, std::span<Tensor> outputs) override { run_tapped(inputs, outputs, {}, {}); }

  void run_tapped(std::span<Tensor> inputs, std::span<Tensor> outputs, std::span<const Tap> of_inputs,
                  std::span<const Tap> of_outputs) override {
    const CurrentDevice current(device_.index());
    for (Tensor& input : inputs)
      if (is_quantizable(input.type())) input = device_.upload(input);
    cpu::ChainRun run;
    ChainProgram program = program_;
    const bool as_program = fits_ && plan_.bind(inputs, run, true) && lay_out_rows(run, program) &&
                            lay_out_broadcasts(inputs, run, program);
    if (as_program) lay_out_shapes(run, program);
    ChainTaps taps;
    const bool counts = as_program && is_counted(program);
    for (std::size_t i = 0; i < of_inputs.size(); ++i) {
      if (of_inputs[i].observer == nullptr) continue;
      ChainSource* source = counts ? reader_of(i, program) : nullptr;
      if (source == nullptr || !add(of_inputs[i], taps, source->tap))
        of_inputs[i].observer->observe(of_inputs[i].site, inputs[i]);
    }
    std::vector<bool> dropped(outputs.size());
    std::vector<bool> whole(outputs.size());  // observed as tensors
    for (std::size_t s = 0; s < plan_.places().size() && !of_outputs.empty(); ++s) {
      if (plan_.places()[s].output < 0) continue;
      const auto o = static_cast<std::size_t>(plan_.places()[s].output);
      if (of_outputs[o].observer == nullptr) continue;
      if (counts && add(of_outputs[o], taps, program.step[s].tap))
        dropped[o] = of_outputs[o].only;
      else
        whole[o] = true;
    }
    if (as_program) {
      plan_.make_outputs(device_, inputs, outputs, run, dropped);
      std::copy(run.out.begin(), run.out.end(), program.out);
      for (int s = 0; s < program.steps; ++s)
        if (program.step[s].output >= 0 && program.out[program.step[s].output] == nullptr) program.step[s].output = -1;
      if (taps.count > 0)
        run_counting_chain(program, taps, device_.stream());
      else
        run_chain(program, device_.stream());
    } else {
      plan_.run_one_by_one(kernels_, inputs, outputs, compile_step_);
    }
    for (std::size_t o = 0; o < outputs.size(); ++o)
      if (whole[o]) of_outputs[o].observer->observe(of_outputs[o].site, outputs[o]);
  }

 private:
  /// What caches hold until an observer takes it with others in one launch is not worth one here, which ends with the
  /// adding up of all counters.
  bool is_counted(const ChainProgram& program) const {
    return program.row_step < 0 && can_count(program) &&
           static_cast<std::size_t>(program.elements) * size_of(program.type) >= least_counted_bytes_;
  }

  /// Gives a tap of the chain its number. False where it cannot be counted on the way.
  bool add(const Tap& tap, ChainTaps& taps, std::int8_t& number) const {
    const auto* observer = dynamic_cast<const CudaObserver*>(tap.observer);
    if (observer == nullptr || taps.count >= most_taps_) return false;
    const SiteMemory memory = observer->memory_of(tap.site);
    taps.partials = memory.partials;
    taps.finished = memory.finished;
    taps.sites[taps.count] = memory.site;
    number = static_cast<std::int8_t>(taps.count++);
    return true;
  }

  /// Where a program reads an input element by element, first.
  static ChainSource* reader_of(std::size_t input, ChainProgram& program) {
    for (int s = 0; s < program.steps; ++s)
      for (ChainSource& source : program.step[s].sources)
        if (source.kind == ChainSource::Kind::block && source.index == input) return &source;
    return nullptr;
  }

  static void lay_out_shapes(const cpu::ChainRun& run, ChainProgram& program) {
    program.type = run.type;
    program.elements = run.elements;
    program.spatial = std::max<std::int64_t>(run.spatial, 1);
    program.channel_count = std::max<std::int64_t>(run.channels, 1);
    std::copy(run.in.begin(), run.in.end(), program.in);
    for (int s = 0; s < program.steps; ++s) {
      ChainStep& step = program.step[s];
      program.by_channel = program.by_channel || step.kind == cpu::Step::Kind::affine;
      for (ChainSource& source : step.sources) {
        if (source.kind != ChainSource::Kind::block) continue;  // an input
        const cpu::Access access = run.access[source.index];
        if (access == cpu::Access::channel) source.kind = ChainSource::Kind::channel;
        if (access == cpu::Access::number) source.kind = ChainSource::Kind::single;
        program.by_channel = program.by_channel || access == cpu::Access::channel;
      }
    }
  }

  /// The program, but for what a run's shapes and addresses say. False when it does not fit.
  bool lay_out() {
    const std::span<const cpu::Step> steps = plan_.steps();
    if (steps.size() > most_chain_steps) return false;
    std::vector<std::size_t> last_reader(steps.size());
    for (std::size_t s = 0; s < steps.size(); ++s)
      for (const cpu::Operand& operand : steps[s].operands) {
        if (operand.kind == cpu::Operand::Kind::step) last_reader[operand.index] = s;
        if (operand.kind == cpu::Operand::Kind::input && operand.index >= most_chain_arrays) return false;
      }
    std::vector<std::size_t> busy_until(most_chain_saved);  // the step that reads a saved result last
    for (std::size_t s = 0; s < steps.size(); ++s) {
      const cpu::Step& step = steps[s];
      ChainStep& made = program_.step[s];
      made.kind = step.kind;
      made.formula = step.formula;
      made.a = step.a;
      made.b = step.b;
      made.grid = step.quantizer.grid;
      made.half_up = step.quantizer.rounding == Rounding::half_up;
      if (plan_.places()[s].output >= most_chain_arrays) return false;
      made.output = static_cast<std::int8_t>(plan_.places()[s].output);
      for (std::size_t k = 0; k < step.operands.size(); ++k) made.sources[k] = source_of(step.operands[k], s);
      if (step.kind == cpu::Step::Kind::affine) made.channels = upload_affine(step.affine);
      if (step.kind == cpu::Step::Kind::row) {
        program_.row_step = static_cast<int>(s);
        program_.rows.kind = step.row.kind;
        program_.rows.epsilon = step.row.epsilon;
        program_.rows.scales = upload_numbers(step.row.scales);
        program_.rows.biases = upload_numbers(step.row.biases);
      }
      if (last_reader[s] <= s + 1) continue;
      const auto free =
          std::find_if(busy_until.begin(), busy_until.end(), [&](std::size_t until) { return until <= s; });
      if (free == busy_until.end()) return false;
      *free = last_reader[s];
      made.saved = static_cast<std::int8_t>(free - busy_until.begin());
    }
    program_.steps = static_cast<int>(steps.size());
    return true;
  }

  /// False where a row step has other rows than the last dimension's, or parameters that do not fit: the operator says
  /// then what is wrong with them.
  bool lay_out_rows(const cpu::ChainRun& run, ChainProgram& program) const {
    if (program.row_step < 0) return true;
    const cpu::RowOperation& row = plan_.steps()[static_cast<std::size_t>(program.row_step)].row;
    if (run.shape.empty() || !is_last_axis(row.axis, run.shape)) return false;
    program.rows.length = run.shape.back();
    const auto fits = [&](const std::vector<float>& numbers) {
      return static_cast<std::int64_t>(numbers.size()) == program.rows.length;
    };
    const bool scaled = row.kind == cpu::RowOperation::Kind::layer_normalization ||
                        row.kind == cpu::RowOperation::Kind::rms_normalization;
    return program.rows.length <= longest_chain_row && (!scaled || fits(row.scales)) &&
           (row.biases.empty() || fits(row.biases));
  }

  /// Of a run's inputs, and the sources that read them. False where the program has no room.
  static bool lay_out_broadcasts(std::span<const Tensor> inputs, const cpu::ChainRun& run, ChainProgram& program) {
    std::vector<std::uint8_t> slots(inputs.size());
    std::uint8_t count = 0;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (run.access[i] != cpu::Access::broadcast) continue;
      if (count == most_chain_broadcasts || run.elements == 0 || run.elements >= (std::int64_t{1} << 31)) return false;
      if (!lay_out_broadcast(inputs[i], run.shape, program.broadcasts[count])) return false;
      slots[i] = count++;
    }
    for (int s = 0; s < program.steps && count > 0; ++s)
      for (ChainSource& source : program.step[s].sources)
        if (source.kind == ChainSource::Kind::block && run.access[source.index] == cpu::Access::broadcast)
          source = {.kind = ChainSource::Kind::broadcast, .index = slots[source.index]};
    return true;
  }

  /// Neighbouring dimensions that are stepped through alike are one loop.
  static bool lay_out_broadcast(const Tensor& input, const Shape& whole, ChainBroadcast& made) {
    made.in = input.data();
    std::array<std::int64_t, ChainBroadcast::most_loops> sizes{};
    std::int64_t dense = 1;
    for (std::size_t back = 1; back <= whole.rank(); ++back) {
      const std::int64_t size = whole[whole.rank() - back];
      const std::int64_t own = back <= input.rank() ? input.shape()[input.rank() - back] : 1;
      if (size == 1) continue;
      const std::int64_t stride = own == 1 ? 0 : dense;
      dense *= own;
      const auto last = static_cast<std::size_t>(made.loops) - 1;
      if (made.loops > 0 && stride == made.strides[last] * sizes[last] && (stride == 0) == (made.strides[last] == 0)) {
        sizes[last] *= size;
        continue;
      }
      if (made.loops == ChainBroadcast::most_loops) return false;
      sizes[last + 1] = size;
      made.strides[last + 1] = static_cast<std::uint32_t>(stride);
      ++made.loops;
    }
    while (made.loops > 1 && made.strides[made.loops - 1] == 0) --made.loops;  // it moves nothing
    made.rows_of_fours = sizes[0] % 4 == 0;
    made.number_of_four = made.rows_of_fours && made.strides[0] == 0;
    made.fours = made.rows_of_fours && made.strides[0] == 1 && is_aligned(made.in);
    for (int loop = 0; loop < made.loops; ++loop) {
      made.sizes[loop] = Divider(static_cast<std::uint32_t>(sizes[static_cast<std::size_t>(loop)]));
      made.fours = made.fours && (loop == 0 || made.strides[loop] % 4 == 0);
    }
    return true;
  }

  ChainSource source_of(const cpu::Operand& operand, std::size_t s) const {
    using Kind = ChainSource::Kind;
    switch (operand.kind) {
      case cpu::Operand::Kind::number: return {.kind = Kind::constant, .number = operand.number};
      case cpu::Operand::Kind::input: return {.kind = Kind::block, .index = static_cast<std::uint8_t>(operand.index)};
      case cpu::Operand::Kind::step: break;
    }
    if (operand.index + 1 == s) return {.kind = Kind::last};
    return {.kind = Kind::saved, .index = static_cast<std::uint8_t>(program_.step[operand.index].saved)};
  }

  const float* upload_affine(const cpu::ChannelAffine<float>& affine) {
    std::vector<float> numbers = affine.centers;
    numbers.insert(numbers.end(), affine.factors.begin(), affine.factors.end());
    numbers.insert(numbers.end(), affine.addends.begin(), affine.addends.end());
    return static_cast<const float*>(upload_numbers(numbers).data);
  }
  /// Absent where there are none.
  FloatInput upload_numbers(const std::vector<float>& numbers) {
    if (numbers.empty()) return {};
    parameters_.push_back(device_.upload_to<float>(numbers));
    return parameters_.back();
  }

  Device& device_;
  cpu::ChainPlan plan_;
  CompileStep compile_step_;
  std::size_t least_counted_bytes_;
  int most_taps_;
  ChainProgram program_;
  bool fits_ = false;
  std::vector<Tensor> parameters_;                ///< of affine and row steps
  std::vector<std::unique_ptr<Kernel>> kernels_;  ///< of the steps, once they had to run one by one
};

/// Values of other types pass: only float ones are quantized.
void quantize_dequantize_of(Call& call) {
  cpu::require_inputs(call, 1);
  const Tensor& x = call.input(0);
  if (!is_quantizable(x.type())) {
    call.outputs[0] = x;
    return;
  }
  const cpu::Quantizer quantizer = cpu::quantizer_of(call.node, call.device.vector());
  GridMap map;
  map.elements = x.elements();
  map.uniform = quantizer.grid;
  map.operation = operation_of(quantizer.rounding, std::span(&quantizer.grid, 1));
  const void* in = x.data();
  Tensor& y = call.output_reusing(0, 0, x.type(), x.shape(), x.layout());
  if (map.elements > 0) quantize_dequantize(in, y.mutable_data(), y.type(), map, device_of(call).stream());
}

}  // namespace

std::unique_ptr<Kernel> make_chain(const Node& node, Device& device, CompileStep compile_step) {
  return std::make_unique<ChainKernel>(node, device, std::move(compile_step));
}

bool is_chain(const Node& node) { return node.domain == "tare" && node.op_type == "Chain"; }

void register_chain(OperatorTable& table) {
  table.add("tare::QuantizeDequantize",
            cpu::Operator{.function = quantize_dequantize_of, .half = cpu::Half::native, .objects = true});
}

}  // namespace tare::cuda
