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
#include <vector>

#include "cpu/chain_plan.hpp"

namespace tare::cpu {
namespace {

constexpr std::int64_t block_elements = 2048;
constexpr std::int64_t chain_grain = 8192;

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

  void run(std::span<Tensor> inputs, std::span<Tensor> outputs) override {
    ChainRun run;
    if (!plan_.bind(inputs, run) || run.type != DataType::float32) return run_one_by_one(inputs, outputs);
    plan_.make_outputs(device_, inputs, outputs, run);
    const std::int64_t units = run.elements / run.unit;
    const std::int64_t block_units = std::max<std::int64_t>(1, block_elements / run.unit);
    device_.parallel(units, std::max<std::int64_t>(1, chain_grain / run.unit),
                     [&](std::int64_t begin, std::int64_t end) { run_units(run, begin, end, block_units); });
  }

 private:
  void run_units(const ChainRun& run, std::int64_t begin, std::int64_t end, std::int64_t block_units) const {
    const auto register_size = static_cast<std::size_t>((block_units * run.unit + 15) / 16 * 16);
    std::size_t room = (plan_.registers() * register_size + 16) * sizeof(float);
    const auto storage = std::make_unique_for_overwrite<float[]>(room / sizeof(float));
    void* start = storage.get();
    auto* registers =
        static_cast<float*>(std::align(64, plan_.registers() * register_size * sizeof(float), start, room));
    for (std::int64_t unit = begin; unit < end; unit += block_units) {
      const Block block{run, unit * run.unit, std::min(block_units, end - unit) * run.unit, registers, register_size};
      for (std::size_t s = 0; s < steps_.size(); ++s) apply(s, block);
    }
  }

  struct Block {
    const ChainRun& run;
    std::int64_t first;  ///< element of the whole
    std::int64_t count;
    float* registers;
    std::size_t register_size;
  };

  float* place(std::size_t s, const Block& block) const {
    const ChainPlan::Place& place = plan_.places()[s];
    return place.output >= 0
               ? reinterpret_cast<float*>(block.run.out[static_cast<std::size_t>(place.output)]) + block.first
               : block.registers + place.register_ * block.register_size;
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
