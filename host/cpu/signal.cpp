// DFT and STFT. Every transform runs in float64, whatever the element type.
#include "cpu/signal.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cpu/arguments.hpp"
#include "cpu/fourier.hpp"

namespace tare::cpu {
namespace {

/// Calls function.operator()<T>() for float32 and float64.
template <class Function>
void dispatch_real(const Call& call, DataType type, Function&& function) {
  if (type == DataType::float32) return function.template operator()<float>();
  if (type == DataType::float64) return function.template operator()<double>();
  call.fail(fmt::format("a signal of {} is not supported", name_of(type)));
}

constexpr std::int64_t longest_transform = std::int64_t{1} << 28;

}  // namespace

Dft plan_dft(const Call& call) {
  const Tensor& in = call.input(0);
  if (in.rank() < 2) call.fail(fmt::format("needs rank 2 or more, not {}", in.shape().text()));
  const std::int64_t parts = in.shape().back();
  if (parts != 1 && parts != 2)
    call.fail(fmt::format("the last dimension must be 1 or 2 (real or complex), not {}", parts));
  const bool inverse = call.node.integer("inverse", 0) != 0;
  const bool onesided = call.node.integer("onesided", 0) != 0;
  const std::int64_t wanted_axis = call.has(2)            ? integer_of(call, 2, "axis")
                                   : call.node.opset < 20 ? call.node.integer("axis", 1)
                                                          : -2;
  const std::size_t axis = axis_of(call, wanted_axis, in.rank());
  if (axis + 1 == in.rank()) call.fail("axis is that of the real and imaginary parts");
  const std::int64_t dim = in.shape()[axis];
  const bool half_spectrum = onesided && inverse;
  const std::int64_t length = call.has(1) ? integer_of(call, 1, "dft_length") : half_spectrum ? 2 * (dim - 1) : dim;
  if (length < 1 || length > longest_transform) call.fail(fmt::format("a transform of length {}", length));
  if (onesided && parts != (inverse ? 2 : 1))
    call.fail(inverse ? "a one-sided inverse transform is only that of complex numbers"
                      : "a one-sided transform is only that of real numbers");
  Dft plan{dim,
           length,
           onesided && !inverse ? length / 2 + 1 : length,
           in.shape().elements(axis + 1, in.rank() - 1),
           parts,
           inverse,
           half_spectrum,
           in.shape()};
  plan.output[axis] = plan.kept;
  plan.output.back() = plan.out_parts();
  return plan;
}

namespace {

void dft(Call& call) {
  const Tensor in = call.input(0);
  const Dft plan = plan_dft(call);
  const std::int64_t dim = plan.dim, length = plan.length, kept = plan.kept, inner = plan.inner, parts = plan.parts;
  const std::int64_t read = plan.read(), out_parts = plan.out_parts();
  const bool inverse = plan.inverse;
  Tensor& out = call.output(0, in.type(), plan.output);
  if (out.elements() == 0) return;
  const std::int64_t lanes = plan.lanes();
  const double scale = inverse ? 1.0 / static_cast<double>(length) : 1.0;
  dispatch_real(call, in.type(), [&]<class T>() {
    const T* from = in.data<T>();
    T* to = out.mutable_data<T>();
    call.device.parallel(lanes, std::max<std::int64_t>(1, 2048 / length), [&](std::int64_t begin, std::int64_t end) {
      Fourier fourier(static_cast<std::size_t>(length), inverse);
      std::vector<Fourier::Complex> values(static_cast<std::size_t>(length));
      for (std::int64_t lane = begin; lane < end; ++lane) {
        const T* column = from + (lane / inner * dim * inner + lane % inner) * parts;
        // Shorter inputs are padded with zeros, longer ones cut.
        std::fill(values.begin(), values.end(), Fourier::Complex(0));
        for (std::int64_t i = 0; i < read; ++i) {
          const T* value = column + i * inner * parts;
          values[static_cast<std::size_t>(i)] = Fourier::Complex(value[0], parts == 2 ? value[1] : T(0));
        }
        if (plan.half_spectrum)
          for (std::int64_t i = length / 2 + 1; i < length; ++i)
            values[static_cast<std::size_t>(i)] = std::conj(values[static_cast<std::size_t>(length - i)]);
        fourier.run(values);
        T* result = to + (lane / inner * kept * inner + lane % inner) * out_parts;
        for (std::int64_t i = 0; i < kept; ++i) {
          const Fourier::Complex value = values[static_cast<std::size_t>(i)] * scale;
          result[i * inner * out_parts] = static_cast<T>(value.real());
          if (out_parts == 2) result[i * inner * out_parts + 1] = static_cast<T>(value.imag());
        }
      }
    });
  });
}

}  // namespace

Stft plan_stft(const Call& call) {
  const Tensor& signal = call.input(0);
  if (signal.rank() != 2 && !(signal.rank() == 3 && (signal.shape()[2] == 1 || signal.shape()[2] == 2)))
    call.fail(fmt::format("a signal of shape {}: [batch, length, 1 or 2] is needed", signal.shape().text()));
  const std::int64_t parts = signal.rank() == 3 ? signal.shape()[2] : 1;
  const std::int64_t batch = signal.shape()[0];
  const std::int64_t length = signal.shape()[1];
  const std::int64_t step = integer_of(call, 1, "frame_step");
  const bool windowed = call.has(2);
  if (windowed && (call.input(2).rank() != 1 || call.input(2).type() != signal.type()))
    call.fail(fmt::format("the window must be a list of {}", name_of(signal.type())));
  if (!windowed && !call.has(3)) call.fail("needs a window or a frame_length");
  const std::int64_t frame = call.has(3) ? integer_of(call, 3, "frame_length") : call.input(2).elements();
  if (step < 1) call.fail(fmt::format("a frame_step of {}", step));
  if (frame < 1 || frame > length) call.fail(fmt::format("frames of {} in a signal of {}", frame, length));
  if (windowed && call.input(2).elements() != frame)
    call.fail(fmt::format("a window of {} for frames of {}", call.input(2).elements(), frame));
  const bool onesided = call.node.integer("onesided", 1) != 0;
  if (onesided && parts == 2) call.fail("a one-sided transform is only that of real numbers");
  return {batch, length, (length - frame) / step + 1, frame, step, onesided ? frame / 2 + 1 : frame, parts, windowed};
}

namespace {

void stft(Call& call) {
  const Tensor signal = call.input(0);
  const auto [batch, length, frames, frame, step, bins, parts, windowed] = plan_stft(call);
  Tensor& out = call.output(0, signal.type(), {batch, frames, bins, 2});
  dispatch_real(call, signal.type(), [&]<class T>() {
    const T* window = windowed ? call.input(2).data<T>() : nullptr;
    call.device.parallel(batch * frames, std::max<std::int64_t>(1, 2048 / frame),
                         [&](std::int64_t begin, std::int64_t end) {
                           Fourier fourier(static_cast<std::size_t>(frame), false);
                           std::vector<Fourier::Complex> values(static_cast<std::size_t>(frame));
                           for (std::int64_t f = begin; f < end; ++f) {
                             const T* from = signal.data<T>() + (f / frames * length + f % frames * step) * parts;
                             for (std::int64_t i = 0; i < frame; ++i) {
                               const double weight = window == nullptr ? 1.0 : static_cast<double>(window[i]);
                               values[static_cast<std::size_t>(i)] = {
                                   weight * static_cast<double>(from[i * parts]),
                                   parts == 2 ? weight * static_cast<double>(from[i * parts + 1]) : 0.0};
                             }
                             fourier.run(values);
                             T* to = out.mutable_data<T>() + f * bins * 2;
                             for (std::int64_t i = 0; i < bins; ++i) {
                               to[2 * i] = static_cast<T>(values[static_cast<std::size_t>(i)].real());
                               to[2 * i + 1] = static_cast<T>(values[static_cast<std::size_t>(i)].imag());
                             }
                           }
                         });
  });
}

}  // namespace

void register_signal(OperatorTable& table) {
  table.add("DFT", checked<dft>);
  table.add("STFT", checked<stft, 2>);
  register_windows(table);
  register_tf_idf(table);
}

}  // namespace tare::cpu
