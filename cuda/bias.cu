#include "bias.hpp"

#include "elementwise.hpp"

namespace tare::cuda {
namespace {

struct Bias {
  DataType type;  ///< of everything
  void* values;
  const void* bias;
  Divider inner, channels;
  std::int64_t wide_inner, wide_channels;
  bool small;

  TARE_HD float of(std::int64_t i) const {
    if (!small) return load_float(bias, i / wide_inner % wide_channels, type);
    const std::uint32_t outer = inner.quotient(static_cast<std::uint32_t>(i));
    return load_float(bias, outer - channels.quotient(outer) * channels.divisor, type);
  }
};

/// Four neighbours of one channel, or of four when inner is 1.
struct Fours {
  Bias bias;
  bool one_channel;
  __device__ void operator()(std::int64_t i) const {
    Four x = load_four(bias.values, 4 * i, bias.type);
    const float first = bias.of(4 * i);
    for (int k = 0; k < 4; ++k) x.of[k] += one_channel || k == 0 ? first : bias.of(4 * i + k);
    store_four(bias.values, 4 * i, x, bias.type);
  }
};
struct Ones {
  Bias bias;
  __device__ void operator()(std::int64_t i) const {
    store_float(bias.values, i, load_float(bias.values, i, bias.type) + bias.of(i), bias.type);
  }
};

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

void add_bias(const Call& call, const Tensor& bias, std::int64_t channels, std::int64_t inner, Tensor& result) {
  const std::int64_t elements = result.elements();
  if (elements == 0 || !bias.present()) return;
  Bias added{
      result.type(), result.mutable_data(), bias.data(), {}, {}, inner, channels, elements < (std::int64_t{1} << 31)};
  if (added.small) {
    added.inner = Divider(static_cast<std::uint32_t>(inner));
    added.channels = Divider(static_cast<std::uint32_t>(channels));
  }
  if (elements % 4 == 0 && is_aligned(added.values))
    for_each(elements / 4, stream_of(call), Fours{added, inner % 4 == 0});
  else
    for_each(elements, stream_of(call), Ones{added});
}

}  // namespace tare::cuda
