// How an operator is added to the CUDA backend: as in host/cpu/operators.hpp, in the file of its family, with the same
// table, Call and checks; call.device is this backend's Device, and output() gives device memory. Float inputs arrive
// on the device, widened to float32 unless the operator is Half::native; all other inputs on the host, where their
// values can be checked. What deviates from that stands in Places.
#pragma once

#include "cpu/arguments.hpp"
#include "cpu/elementwise.hpp"
#include "device.hpp"

namespace tare::cuda {

/// Bit i is input i; `rest` bits say it of all further inputs, too.
struct Places {
  static constexpr std::uint32_t all = ~0u;
  std::uint32_t host = 0;    ///< floats that are read on the host: scales, sizes, fill values
  std::uint32_t device = 0;  ///< whatever the type, on the device: data that is only moved, masks
};

struct Operator {
  cpu::Operator op;
  Places places;
};

class OperatorTable {
 public:
  void add(std::string_view name, cpu::Function function, cpu::Half half = cpu::Half::widen, Places places = {}) {
    add(name, cpu::Operator{.function = function, .half = half}, places);
  }
  void add(std::string_view name, const cpu::Operator& op, Places places = {}) {
    operators_.insert_or_assign(std::string(name), Operator{op, places});
  }
  /// The host's own function: it only plans, and the device's loops do the work.
  void share(std::string_view name, Places places);
  const Operator* find(const Node& node) const;
  /// By "Softmax" or, for other domains than ONNX's, "domain::Softmax".
  const std::map<std::string, Operator, std::less<>>& all() const { return operators_; }

 private:
  std::map<std::string, Operator, std::less<>> operators_;
};

const OperatorTable& operator_table();

void register_attention(OperatorTable&);
void register_binary(OperatorTable&);
void register_cast(OperatorTable&);
void register_chain(OperatorTable&);
void register_convolution(OperatorTable&);
void register_indexing(OperatorTable&);
void register_linear_algebra(OperatorTable&);
void register_loss(OperatorTable&);
void register_matmul(OperatorTable&);
void register_movement(OperatorTable&);
void register_normalization(OperatorTable&);
void register_pooling(OperatorTable&);
void register_quantize_linear(OperatorTable&);
void register_recurrent(OperatorTable&);
void register_reduction(OperatorTable&);
void register_rotary_embedding(OperatorTable&);
void register_sampling(OperatorTable&);
void register_selection(OperatorTable&);
void register_signal(OperatorTable&);
void register_softmax(OperatorTable&);
void register_sorting(OperatorTable&);
void register_unary(OperatorTable&);

/// The text of its parts, for messages of .cu files: nvcc's host compiler pass does not take fmt's format strings.
template <class... Parts>
std::string joined(const Parts&... parts) {
  std::string text;
  const auto append = [&](const auto& part) {
    if constexpr (std::is_arithmetic_v<std::decay_t<decltype(part)>>)
      text += std::to_string(part);
    else
      text += part;
  };
  (append(parts), ...);
  return text;
}

/// Operators of the host that make tensors of a few numbers, or handle sequences and strings: not missing here.
bool belongs_to_host(const Node& node);

/// The host's own function on copies of the inputs; outputs stay on the host.
void run_on_host(Call& call);

/// Half to float32 and back, bit for bit as the host does it.
Tensor widen(Device& device, const Tensor& half);
Tensor narrow(Device& device, const Tensor& wide, DataType type);
/// The same of a tensor on the host; all other types stay as they are.
Tensor widen_on_host(const Tensor& tensor);

}  // namespace tare::cuda
