// A chain made ready, for any device: its steps, where their results lie, and what the shapes of a run say. See
// chain.cpp.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "cpu/chain_step.hpp"

namespace tare::cpu {

/// How an input lies beside the elements of the whole. Broadcast: in any other way, on devices that take that.
enum class Access : std::uint8_t { block, channel, number, broadcast };

struct ChainRun {
  DataType type = DataType::float32;  ///< of all inputs and outputs
  Shape shape;
  Layout layout = Layout::plain;
  std::int64_t elements = 0;
  std::int64_t channels = 1;
  std::int64_t spatial = 1;     ///< elements of a channel
  bool channels_inner = false;  ///< channels lie beside each other
  std::int64_t unit = 1;        ///< blocks hold whole multiples
  std::vector<Access> access;
  std::vector<const std::byte*> in;
  std::vector<std::byte*> out;  ///< null: made in a register only
};

class ChainPlan {
 public:
  struct Place {
    std::int32_t output = -1;   ///< of the chain, or
    std::size_t register_ = 0;  ///< where nobody else looks
  };

  ChainPlan(const Graph& graph, const VectorKernels& vector);

  std::span<const Step> steps() const { return steps_; }
  std::span<const Place> places() const { return places_; }  ///< of the steps' results
  std::size_t registers() const { return registers_; }

  /// False where the inputs need other loops than those of a chain; a device that takes a chain in one launch has
  /// loops for operands that broadcast in any way and for rows.
  bool bind(std::span<const Tensor> inputs, ChainRun& run, bool in_one_launch = false) const;
  /// `dropped[o]`: nobody wants that output; empty: all are wanted.
  void make_outputs(Device& device, std::span<Tensor> inputs, std::span<Tensor> outputs, ChainRun& run,
                    const std::vector<bool>& dropped = {}) const;

  using MakeKernel =
      std::function<std::unique_ptr<Kernel>(const Graph&, const Node&, const std::vector<const Tensor*>& constants)>;
  /// The steps as ordinary operators; `kernels` are made at the first call.
  void run_one_by_one(std::vector<std::unique_ptr<Kernel>>& kernels, std::span<Tensor> inputs,
                      std::span<Tensor> outputs, const MakeKernel& make_kernel) const;

 private:
  void place_results();

  const Graph& graph_;
  std::vector<Step> steps_;
  std::vector<Place> places_;
  std::size_t registers_ = 0;
};

}  // namespace tare::cpu
