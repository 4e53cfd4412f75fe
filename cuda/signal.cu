// DFT and STFT: the steps of cpu::Fourier, one launch a stage for all lanes together, in float64. Tables come from the
// host. Odd: a stage reads one buffer and writes the same places, a butterfly a thread, so that nothing else is needed.
#include "cpu/fourier.hpp"
#include "cpu/signal.hpp"
#include "launch.hpp"
#include "operators.hpp"

namespace tare::cuda {
namespace {

struct Complex {
  double real, imaginary;
};
TARE_HD Complex operator+(Complex a, Complex b) { return {a.real + b.real, a.imaginary + b.imaginary}; }
TARE_HD Complex operator-(Complex a, Complex b) { return {a.real - b.real, a.imaginary - b.imaginary}; }
TARE_HD Complex operator*(Complex a, Complex b) {
  return {a.real * b.real - a.imaginary * b.imaginary, a.real * b.imaginary + a.imaginary * b.real};
}
TARE_HD Complex conjugate(Complex a) { return {a.real, -a.imaginary}; }
TARE_HD std::int64_t reversed(std::int64_t i, int bits) {
  std::int64_t result = 0;
  for (int b = 0; b < bits; ++b) result |= (i >> b & 1) << (bits - 1 - b);
  return result;
}

struct Reverse {
  Complex* values;
  std::int64_t size;
  int bits;
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t at = i % size;
    const std::int64_t other = reversed(at, bits);
    if (at >= other) return;
    Complex* lane = values + i / size * size;
    const Complex value = lane[at];
    lane[at] = lane[other];
    lane[other] = value;
  }
};

struct Butterfly {
  Complex* values;
  const Complex* roots;
  std::int64_t size, half;
  bool conjugated;
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t pair = i % (size / 2);
    const std::int64_t k = pair % half;
    Complex* lane = values + i / (size / 2) * size + pair / half * 2 * half + k;
    const Complex root = roots[k * (size / (2 * half))];
    const Complex even = lane[0];
    const Complex odd = (conjugated ? conjugate(root) : root) * lane[half];
    lane[0] = even + odd;
    lane[half] = even - odd;
  }
};

/// values = values * table, lane by lane; elements from `length` on become 0.
struct Modulate {
  Complex* values;
  const Complex* table;
  std::int64_t size, length;
  double divisor;
  bool conjugated;  ///< the values, before
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t at = i % size;
    if (at >= length) {
      values[i] = {0, 0};
      return;
    }
    const Complex product = (conjugated ? conjugate(values[i]) : values[i]) * table[at];
    values[i] = {product.real / divisor, product.imaginary / divisor};
  }
};

/// Lanes of `padded()` complex numbers in device memory, and their transform.
class Lanes {
 public:
  Lanes(const Call& call, std::int64_t length, bool inverse, std::int64_t lanes)
      : device_(device_of(call)),
        stream_(stream_of(call)),
        length_(length),
        inverse_(inverse),
        lanes_(lanes),
        fourier_(static_cast<std::size_t>(length), inverse),
        roots_(upload(fourier_.roots())),
        values_(device_.allocate(DataType::float64, {lanes, padded(), 2})) {}

  std::int64_t padded() const { return static_cast<std::int64_t>(fourier_.padded()); }
  Complex* values() { return reinterpret_cast<Complex*>(values_.mutable_data<double>()); }

  /// Elements from the length on may hold anything.
  void transform() {
    if (padded() == length_) return butterflies(inverse_);
    const Tensor chirp = upload(fourier_.chirp());
    const Tensor chirp_transform = upload(fourier_.chirp_transform());
    modulate(chirp, length_, 1.0, inverse_);
    butterflies(false);
    modulate(chirp_transform, padded(), 1.0, false);
    butterflies(true);
    modulate(chirp, length_, static_cast<double>(padded()), false);
  }
  /// The inverse of x is the conjugate of the transform of its conjugate.
  bool gives_conjugate() const { return inverse_ && padded() != length_; }

 private:
  Tensor upload(std::span<const cpu::Fourier::Complex> table) const {
    return device_.upload_to<double>({reinterpret_cast<const double*>(table.data()), 2 * table.size()});
  }
  static const Complex* of(const Tensor& table) { return reinterpret_cast<const Complex*>(table.data<double>()); }
  void modulate(const Tensor& table, std::int64_t length, double divisor, bool conjugated) {
    for_each(lanes_ * padded(), stream_, Modulate{values(), of(table), padded(), length, divisor, conjugated});
  }
  void butterflies(bool conjugated) {
    int bits = 0;
    while ((std::int64_t{1} << bits) < padded()) ++bits;
    for_each(lanes_ * padded(), stream_, Reverse{values(), padded(), bits});
    for (std::int64_t half = 1; half < padded(); half *= 2)
      for_each(lanes_ * (padded() / 2), stream_, Butterfly{values(), of(roots_), padded(), half, conjugated});
  }

  Device& device_;
  StreamView stream_;
  std::int64_t length_;
  bool inverse_;
  std::int64_t lanes_;
  cpu::Fourier fourier_;
  Tensor roots_;
  Tensor values_;
};

/// Lane i from [outer, dim, inner] numbers, or frame i of a windowed signal.
struct Load {
  const float* in;
  const float* window;  ///< may be null
  Complex* values;
  std::int64_t padded, length, dim, inner, parts;
  std::int64_t frames, signal, step;  ///< of a signal: dim is the frame's length; 0 frames: lanes
  bool half_spectrum;                 ///< element length - k is the conjugate of element k
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t lane = i / padded;
    const bool mirrored = half_spectrum && i % padded > length / 2;
    const std::int64_t at = mirrored ? length - i % padded : i % padded;
    Complex value{0, 0};
    if (at >= 0 && at < length && at < dim) {
      const std::int64_t start =
          frames > 0 ? lane / frames * signal + lane % frames * step : lane / inner * dim * inner + lane % inner;
      const float* number = in + (start + at * inner) * parts;
      const double weight = window != nullptr ? static_cast<double>(window[at]) : 1.0;
      value = {weight * static_cast<double>(number[0]), parts == 2 ? weight * static_cast<double>(number[1]) : 0.0};
    }
    values[i] = mirrored ? conjugate(value) : value;
  }
};

struct Store {
  const Complex* values;
  float* out;
  std::int64_t padded, kept, inner, parts;
  double scale;
  bool conjugated;
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t lane = i / kept;
    const std::int64_t at = i % kept;
    const Complex value = conjugated ? conjugate(values[lane * padded + at]) : values[lane * padded + at];
    float* number = out + (lane / inner * kept * inner + lane % inner + at * inner) * parts;
    number[0] = static_cast<float>(value.real * scale);
    if (parts == 2) number[1] = static_cast<float>(value.imaginary * scale);
  }
};

void dft(Call& call) {
  const Tensor in = call.input(0);
  if (in.type() != DataType::float32) cpu::fail_type(call, in.type());
  const cpu::Dft plan = cpu::plan_dft(call);
  Tensor& out = call.output(0, DataType::float32, plan.output);
  if (out.elements() == 0) return;
  const std::int64_t lane_count = plan.lanes();
  Lanes lanes(call, plan.length, plan.inverse, lane_count);
  for_each(lane_count * lanes.padded(), stream_of(call),
           Load{in.data<float>(), nullptr, lanes.values(), lanes.padded(), plan.length, plan.dim, plan.inner,
                plan.parts, 0, 0, 0, plan.half_spectrum});
  lanes.transform();
  for_each(lane_count * plan.kept, stream_of(call),
           Store{lanes.values(), out.mutable_data<float>(), lanes.padded(), plan.kept, plan.inner, plan.out_parts(),
                 plan.inverse ? 1.0 / static_cast<double>(plan.length) : 1.0, lanes.gives_conjugate()});
}

void stft(Call& call) {
  const Tensor signal = call.input(0);
  if (signal.type() != DataType::float32) cpu::fail_type(call, signal.type());
  const cpu::Stft plan = cpu::plan_stft(call);
  Tensor& out = call.output(0, DataType::float32, {plan.batch, plan.frames, plan.bins, 2});
  if (out.elements() == 0) return;
  const std::int64_t lane_count = plan.batch * plan.frames;
  Lanes lanes(call, plan.frame, false, lane_count);
  for_each(lane_count * lanes.padded(), stream_of(call),
           Load{signal.data<float>(), plan.windowed ? call.input(2).data<float>() : nullptr, lanes.values(),
                lanes.padded(), plan.frame, plan.frame, 1, plan.parts, plan.frames, plan.length, plan.step, false});
  lanes.transform();
  for_each(lane_count * plan.bins, stream_of(call),
           Store{lanes.values(), out.mutable_data<float>(), lanes.padded(), plan.bins, 1, 2, 1.0, false});
}

}  // namespace

void register_signal(OperatorTable& table) {
  table.add("DFT", cpu::checked<dft>);
  table.add("STFT", cpu::checked<stft, 2>);
}

}  // namespace tare::cuda
