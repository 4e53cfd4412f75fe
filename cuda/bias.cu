#include "bias.hpp"

#include "elementwise.hpp"

namespace tare::cuda {
namespace {

struct AddScaled {
  float beta;
  TARE_HD float operator()(float x, float c) const { return x + beta * c; }
};

}  // namespace

void add_scaled(const Call& call, const Tensor& addend, float beta, Tensor& result) {
  if (result.elements() == 0) return;
  const cpu::Broadcast plan = cpu::plan_broadcast(call, {&result, &addend});
  combine_floats(plan, result, addend, result, stream_of(call), AddScaled{beta});
}

void add_bias(const Call& call, const Tensor& bias, Tensor& result) {
  if (!bias.present()) return;
  Shape channels(result.rank() - 1, 1);
  channels[0] = bias.elements();
  add_scaled(call, bias.reshaped(channels), 1, result);
}

}  // namespace tare::cuda
