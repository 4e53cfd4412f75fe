// Bias and fused operations behind convolutions and products: element-wise, in place, one launch for up to eight of
// them. The words are those at the top of host/cpu/fused.cpp.
#include "epilogue.hpp"

#include "elementwise.hpp"
#include "tare/elementary.hpp"

namespace tare::cuda {
namespace {

constexpr int most_post_ops = 8;

struct Epilogue {
  DataType type;  ///< of everything
  void* values;
  const void* bias;  ///< may be null
  Divider inner, channels;
  std::int64_t wide_inner, wide_channels;
  bool small;
  int count;
  cpu::PostOp::Kind kinds[most_post_ops];
  float alpha[most_post_ops], beta[most_post_ops];

  TARE_HD float apply(int op, float x) const {
    using Kind = cpu::PostOp::Kind;
    switch (kinds[op]) {
      case Kind::relu: return elementary::relu(x);
      case Kind::leaky_relu: return elementary::leaky_relu(x, alpha[op]);
      case Kind::clip: return elementary::clip(x, alpha[op], beta[op]);
      case Kind::hard_sigmoid: return elementary::hard_sigmoid(x, alpha[op], beta[op]);
      case Kind::hard_swish: return elementary::hard_swish(x);
      case Kind::sigmoid: return elementary::sigmoid(x);
      case Kind::tanh: return elementary::tanh(x);
    }
    return x;
  }
  TARE_HD float channel_bias(std::int64_t i) const {
    if (!small) return load_float(bias, i / wide_inner % wide_channels, type);
    const std::uint32_t outer = inner.quotient(static_cast<std::uint32_t>(i));
    return load_float(bias, outer - channels.quotient(outer) * channels.divisor, type);
  }
  TARE_HD float after(float x) const {
    for (int op = 0; op < count; ++op) x = apply(op, x);
    return x;
  }
};

/// Four neighbours of one channel, or of four when inner is 1.
struct Fours {
  Epilogue epilogue;
  bool one_channel;
  __device__ void operator()(std::int64_t i) const {
    Four x = load_four(epilogue.values, 4 * i, epilogue.type);
    if (epilogue.bias != nullptr) {
      const float first = epilogue.channel_bias(4 * i);
      for (int k = 0; k < 4; ++k) x.of[k] += one_channel || k == 0 ? first : epilogue.channel_bias(4 * i + k);
    }
    for (int k = 0; k < 4; ++k) x.of[k] = epilogue.after(x.of[k]);
    store_four(epilogue.values, 4 * i, x, epilogue.type);
  }
};
struct Ones {
  Epilogue epilogue;
  __device__ void operator()(std::int64_t i) const {
    float x = load_float(epilogue.values, i, epilogue.type);
    if (epilogue.bias != nullptr) x += epilogue.channel_bias(i);
    store_float(epilogue.values, i, epilogue.after(x), epilogue.type);
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

void apply_epilogue(const Call& call, const Tensor& bias, std::int64_t channels, std::int64_t inner,
                    std::span<const cpu::PostOp> post_ops, Tensor& result) {
  const std::int64_t elements = result.elements();
  if (elements == 0 || (!bias.present() && post_ops.empty())) return;
  Epilogue epilogue{};
  epilogue.type = result.type();
  epilogue.values = result.mutable_data();
  epilogue.bias = bias.data();
  epilogue.small = elements < (std::int64_t{1} << 31);
  epilogue.wide_inner = inner;
  epilogue.wide_channels = channels;
  if (epilogue.small) {
    epilogue.inner = Divider(static_cast<std::uint32_t>(inner));
    epilogue.channels = Divider(static_cast<std::uint32_t>(channels));
  }
  std::size_t done = 0;
  do {
    epilogue.count = 0;
    for (; done < post_ops.size() && epilogue.count < most_post_ops; ++done, ++epilogue.count) {
      const cpu::PostOp& op = post_ops[done];
      epilogue.kinds[epilogue.count] = op.kind;
      epilogue.alpha[epilogue.count] = op.alpha;
      epilogue.beta[epilogue.count] = op.beta;
    }
    if (elements % 4 == 0 && is_aligned(epilogue.values))
      for_each(elements / 4, stream_of(call), Fours{epilogue, inner % 4 == 0});
    else
      for_each(elements, stream_of(call), Ones{epilogue});
    epilogue.bias = nullptr;
  } while (done < post_ops.size());
}

}  // namespace tare::cuda
