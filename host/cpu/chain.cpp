// Nodes of the internal domain "tare" that the plan makes:
//   QuantizeDequantize  (plan/quantized_graph) one integer grid for a whole tensor. Attributes: "grid", float64 numbers
//                       scale, offset, steps, min and max as Encoding and QuantizerSpec hold them; "rounding".
//   Chain               (plan/chains) element-wise operators and quantizers, one after the other. Attribute
//                       "steps": a body that takes the node's inputs and gives its outputs.
// Threads take blocks that fit the first-level cache through all steps of a chain, with the loops of the operators
// themselves, so that not a bit differs.
// Odd: what shapes come is only known in the run. One operand may have one element a channel or one in all; for
// anything else that broadcasts, and for other types than float32, a chain runs its steps as ordinary operators.
#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "cpu/chain_plan.hpp"

namespace tare::cpu {
namespace {

constexpr std::int64_t block_elements = 2048;
constexpr std::int64_t chain_grain = 32768;  // elements times steps
constexpr std::int64_t least_grain = 1024;
constexpr std::int64_t counted_grain = 4096;  // of a chain that counts, all tensors that it counts together
constexpr std::int64_t least_counted = 1024;
// Larger blocks than those of other chains: the counters of every tensor are several KiB that have to come back.
constexpr std::int64_t counted_block = 8192;

/// Values of other types pass: only float ones are quantized.
void quantize_dequantize_of(Call& call) {
  require_inputs(call, 1);
  const Tensor& x = call.input(0);
  if (x.type() != DataType::float32) {
    call.outputs[0] = x;
    return;
  }
  const Quantizer quantizer = quantizer_of(call.node, call.device.vector());
  const float* in = x.data<float>();
  float* out = call.output_reusing(0, 0, x.type(), x.shape(), x.layout()).mutable_data<float>();
  call.device.parallel(x.elements(), 16384, [&](std::int64_t begin, std::int64_t end) {
    quantizer.loop(in + begin, out + begin, static_cast<std::size_t>(end - begin), quantizer.grid);
  });
}

class Chain final : public Kernel {
 public:
  explicit Chain(const Compile& compile)
      : device_(compile.device),
        plan_(*compile.node.subgraph("steps").graph, compile.device.vector()),
        steps_(plan_.steps()) {}

  bool accepts_channels_last() const override { return true; }

  bool takes_taps() const override { return true; }

  void run(std::span<Tensor> inputs, std::span<Tensor> outputs) override { run_tapped(inputs, outputs, {}, {}); }

  void run_tapped(std::span<Tensor> inputs, std::span<Tensor> outputs, std::span<const Tap> of_inputs,
                  std::span<const Tap> of_outputs) override {
    ChainRun run;
    const bool in_blocks = plan_.bind(inputs, run) && run.type == DataType::float32;
    std::vector<Counted> counted;
    const auto counts = [&](const Tap& tap, bool is_input, std::size_t of) {
      PieceObserver* pieces = in_blocks ? tap.observer->pieces() : nullptr;
      if (pieces == nullptr) return false;
      pieces->begin(counted.size(), tap.site, run.elements);
      counted.push_back({pieces, is_input, of});
      return true;
    };
    const auto comes_in_blocks = [&](std::size_t i) {
      return in_blocks && run.access[i] == Access::block && of_inputs[i].observer->pieces() != nullptr;
    };
    // Whole tensors first: an observer counts them in its first pass, which blocks then take over.
    for (std::size_t i = 0; i < of_inputs.size(); ++i)
      if (of_inputs[i].observer != nullptr && !comes_in_blocks(i))
        of_inputs[i].observer->observe(of_inputs[i].site, inputs[i]);
    for (std::size_t i = 0; i < of_inputs.size(); ++i)
      if (of_inputs[i].observer != nullptr && comes_in_blocks(i)) counts(of_inputs[i], true, i);
    std::vector<bool> dropped(of_outputs.size());
    std::vector<std::size_t> whole;  // outputs that are observed as tensors
    for (std::size_t s = 0; s < steps_.size() && !of_outputs.empty(); ++s) {
      if (plan_.places()[s].output < 0) continue;
      const auto o = static_cast<std::size_t>(plan_.places()[s].output);
      if (of_outputs[o].observer == nullptr) continue;
      if (counts(of_outputs[o], false, s))
        dropped[o] = of_outputs[o].only;
      else
        whole.push_back(o);
    }
    if (in_blocks) {
      plan_.make_outputs(device_, inputs, outputs, run, dropped);
      run_in_blocks(run, counted);
    } else {
      run_one_by_one(inputs, outputs);
    }
    for (const std::size_t o : whole) of_outputs[o].observer->observe(of_outputs[o].site, outputs[o]);
  }

 private:
  /// An input, or the result of a step, that is observed block by block. Its pass is its place in the list, in which
  /// inputs come first and steps in their order.
  struct Counted {
    PieceObserver* observer;
    bool is_input;
    std::size_t of;
    bool has_tables() const { return observer->has_tables(); }
  };

  void run_in_blocks(const ChainRun& run, std::span<const Counted> counted) const {
    const std::int64_t units = run.elements / run.unit;
    const std::int64_t grain_elements =
        counted.empty() ? std::max(chain_grain / static_cast<std::int64_t>(steps_.size()), least_grain)
                        : std::max(counted_grain / static_cast<std::int64_t>(counted.size()), least_counted);
    const std::int64_t grain = std::max<std::int64_t>(1, grain_elements / run.unit);
    const std::int64_t slots = std::clamp<std::int64_t>(units / grain, 1, device_.threads());
    device_.parallel(slots, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t slot = first; slot < last; ++slot)
        run_units(run, counted, static_cast<std::size_t>(slot), units * slot / slots, units * (slot + 1) / slots);
    });
  }

  /// Units that make about so many elements, whole vectors of them where that is possible.
  static std::int64_t units_of(std::int64_t elements, std::int64_t unit) {
    constexpr std::int64_t vectors = 64;
    const std::int64_t units = std::max<std::int64_t>(1, elements / unit);
    const std::int64_t whole = vectors / std::gcd(unit, vectors);
    return units > whole ? units / whole * whole : units;
  }

  struct Block {
    const ChainRun& run;
    std::int64_t first;  ///< element of the whole
    std::int64_t count;
    float* registers;
    std::size_t register_size;

    Block part(std::int64_t at, std::int64_t most) const {
      return {run, first + at, std::min(most, count - at), registers + at, register_size};
    }
  };

  void run_units(const ChainRun& run, std::span<const Counted> counted, std::size_t slot, std::int64_t begin,
                 std::int64_t end) const {
    const bool tables = std::any_of(counted.begin(), counted.end(), [](const Counted& c) { return c.has_tables(); });
    const std::int64_t part_units = units_of(block_elements, run.unit);
    const std::int64_t block_units = tables ? units_of(counted_block, run.unit) : part_units;
    const auto register_size = static_cast<std::size_t>((block_units * run.unit + 15) / 16 * 16);
    const std::size_t registers_size = (plan_.registers() + run.out.size()) * register_size * sizeof(float);
    std::size_t room = registers_size + 16 * sizeof(float);
    const auto storage = std::make_unique_for_overwrite<float[]>(room / sizeof(float));
    void* start = storage.get();
    auto* registers = static_cast<float*>(std::align(64, registers_size, start, room));
    for (std::int64_t unit = begin; unit < end; unit += block_units)
      run_block({run, unit * run.unit, std::min(block_units, end - unit) * run.unit, registers, register_size},
                part_units * run.unit, counted, slot);
    // Threads end at the same time: each begins with another tensor, so that they do not wait for each other.
    for (std::size_t i = 0; i < counted.size(); ++i) {
      const std::size_t c = (slot + i) % counted.size();
      counted[c].observer->close(c, slot);
    }
  }

  /// Through the steps in parts that fit the first-level cache, up to a result that is counted in tables: that is
  /// counted whole.
  void run_block(const Block& block, std::int64_t part_elements, std::span<const Counted> counted,
                 std::size_t slot) const {
    const auto count = [&](std::size_t c, const float* values, std::int64_t n) {
      counted[c].observer->count(c, slot, values, static_cast<std::size_t>(n));
    };
    std::size_t c = 0;
    for (; c < counted.size() && counted[c].is_input; ++c)
      count(c, reinterpret_cast<const float*>(block.run.in[counted[c].of]) + block.first, block.count);
    for (std::size_t first = 0; first < steps_.size();) {
      std::size_t stop = c;  // the next result in tables
      while (stop < counted.size() && !counted[stop].has_tables()) ++stop;
      const std::size_t last = stop < counted.size() ? counted[stop].of + 1 : steps_.size();
      for (std::int64_t at = 0; at < block.count; at += part_elements) {
        const Block part = block.part(at, part_elements);
        std::size_t passed = c;
        for (std::size_t s = first; s < last; ++s) {
          apply(s, part);
          if (passed < stop && counted[passed].of == s) count(passed++, place(s, part), part.count);
        }
      }
      if (stop < counted.size()) count(stop, place(last - 1, block), block.count);
      c = stop + 1;
      first = last;
    }
  }

  float* place(std::size_t s, const Block& block) const {
    const ChainPlan::Place& place = plan_.places()[s];
    if (place.output < 0) return block.registers + place.register_ * block.register_size;
    const auto o = static_cast<std::size_t>(place.output);
    return block.run.out[o] != nullptr ? reinterpret_cast<float*>(block.run.out[o]) + block.first
                                       : block.registers + (plan_.registers() + o) * block.register_size;
  }
  const float* source(const Operand& operand, const Block& block) const {
    switch (operand.kind) {
      case Operand::Kind::number: return &operand.number;
      case Operand::Kind::step: return place(operand.index, block);
      case Operand::Kind::input: break;
    }
    return reinterpret_cast<const float*>(block.run.in[operand.index]) +
           (block.run.access[operand.index] == Access::block ? block.first : 0);
  }

  void apply(std::size_t s, const Block& block) const {
    const Step& step = steps_[s];
    const float* x = source(step.operands[0], block);
    const auto n = static_cast<std::size_t>(block.count);
    switch (step.kind) {
      case Step::Kind::unary: return step.unary(x, place(s, block), n, step.a, step.b);
      case Step::Kind::quantize: return step.quantizer.loop(x, place(s, block), n, step.quantizer.grid);
      case Step::Kind::affine: return apply_affine(step.affine, block, x, place(s, block));
      case Step::Kind::row: return;  // not bound
      case Step::Kind::binary: return apply_binary(step, block, x, source(step.operands[1], block), place(s, block));
    }
  }

  /// Calls body(offset in the block, elements, channel counted through all images) for what lies in one channel.
  template <class Body>
  static void for_channels(const Block& block, Body&& body) {
    const auto& [run, first, count, registers, register_size] = block;
    for (std::int64_t at = 0; at < count;) {
      const std::int64_t channel = (first + at) / run.spatial;
      const std::int64_t n = std::min(count - at, (channel + 1) * run.spatial - (first + at));
      body(at, static_cast<std::size_t>(n), channel);
      at += n;
    }
  }

  void apply_affine(const ChannelAffine<float>& affine, const Block& block, const float* x, float* y) const {
    const ChainRun& run = block.run;
    const VectorKernels& v = device_.vector();
    const auto& [centers, factors, addends] = affine;
    if (run.channels_inner)
      return v.column_affine(x, centers.data(), factors.data(), addends.data(), y,
                             static_cast<std::size_t>(block.count / run.channels),
                             static_cast<std::size_t>(run.channels));
    for_channels(block, [&](std::int64_t at, std::size_t n, std::int64_t channel) {
      const auto c = static_cast<std::size_t>(channel % run.channels);
      v.row_affine(x + at, centers[c], factors[c], addends[c], y + at, n);
    });
  }

  void apply_binary(const Step& step, const Block& block, const float* a, const float* b, float* y) const {
    const ChainRun& run = block.run;
    const auto access = [&](const Operand& operand) {
      if (operand.kind == Operand::Kind::input) return run.access[operand.index];
      return operand.kind == Operand::Kind::step ? Access::block : Access::number;
    };
    const Access of_a = access(step.operands[0]);
    const Access of_b = access(step.operands[1]);
    const auto n = static_cast<std::size_t>(block.count);
    if (of_a == Access::block && of_b == Access::block) return step.binary.arrays(a, b, y, n);
    if (of_b == Access::number) return step.binary.second_scalar(a, b, y, n);
    if (of_a == Access::number) return step.binary.first_scalar(a, b, y, n);
    const bool second = of_b == Access::channel;
    if (run.channels_inner) {
      for (std::int64_t at = 0; at < block.count; at += run.channels) {
        const std::int64_t image = (block.first + at) / run.channels / run.spatial;
        const std::int64_t of_channels = image * run.channels;
        step.binary.arrays(second ? a + at : a + of_channels, second ? b + of_channels : b + at, y + at,
                           static_cast<std::size_t>(run.channels));
      }
      return;
    }
    for_channels(block, [&](std::int64_t at, std::size_t part, std::int64_t channel) {
      if (second)
        step.binary.second_scalar(a + at, b + channel, y + at, part);
      else
        step.binary.first_scalar(a + channel, b + at, y + at, part);
    });
  }

  void run_one_by_one(std::span<Tensor> inputs, std::span<Tensor> outputs) {
    plan_.run_one_by_one(kernels_, inputs, outputs, [&](const Graph& graph, const Node& node, const auto& known) {
      return make_kernel({graph, node, device_, known});
    });
  }

  Device& device_;
  ChainPlan plan_;
  std::span<const Step> steps_;
  std::vector<std::unique_ptr<Kernel>> kernels_;  ///< of the steps, once they had to run one by one
};

std::unique_ptr<Kernel> make_chain(const Compile& compile) { return std::make_unique<Chain>(compile); }

}  // namespace

void register_chain(OperatorTable& table) {
  table.add("tare::QuantizeDequantize",
            Operator{.function = quantize_dequantize_of, .channels_last = true, .objects = true});
  table.add("tare::Chain",
            Operator{.factory = make_chain, .half = Half::native, .channels_last = true, .objects = true});
}

}  // namespace tare::cpu
