// RotaryEmbedding: one thread a pair of features. Positions lie on the host, where they are checked.
#include "cpu/rotary_embedding.hpp"

#include "cpu/strided_copy.hpp"
#include "float_element.hpp"
#include "operators.hpp"

namespace tare::cuda {
namespace {

struct Rotate {
  cpu::RotaryView view;
  FloatInput in, cosines, sines;
  const std::int64_t* given;
  FloatOutput out;

  __device__ void operator()(std::int64_t i) const {
    const std::int64_t half = view.rotated / 2;
    const std::int64_t pair = i % half;
    const std::int64_t p = i / half % view.positions;
    const std::int64_t h = i / half / view.positions % view.heads;
    const std::int64_t b = i / half / view.positions / view.heads;
    const std::int64_t place = b * view.positions + p;
    const std::int64_t angle = (given != nullptr ? given[place] : place) * half + pair;
    const std::int64_t features = view.strides.at(b, h, p);
    const std::int64_t first = features + view.first(pair);
    const std::int64_t second = features + view.second(pair);
    const float x = in[first];
    const float y = in[second];
    const float cosine = cosines[angle];
    const float sine = sines[angle];
    out.set(first, cosine * x - sine * y);
    out.set(second, sine * x + cosine * y);
  }
};

void rotary_embedding(Call& call) {
  const cpu::RotaryView view = cpu::rotary_view(call);
  const Tensor in = call.input(0);
  if (!is_quantizable(in.type())) call.fail("takes floating-point tensors, not " + std::string(name_of(in.type())));
  Tensor positions;
  if (call.has(cpu::RotaryView::positions_input)) {
    cpu::check_positions(call, view);
    const std::span<const std::int64_t> given = call.input(cpu::RotaryView::positions_input).span<std::int64_t>();
    positions = device_of(call).upload_to<std::int64_t>(std::vector<std::int64_t>(given.begin(), given.end()));
  }
  Tensor& out = call.output(0, in.type(), in.shape());
  if (view.rotated < view.features) {  // the others stay
    cpu::CopyPlan plan;
    plan.add(in.elements(), 1, 1);
    plan.run(call.device, size_of(in.type()), in.data(), out.mutable_data());
  }
  for_each(view.pairs(), stream_of(call),
           Rotate{view, in, call.input(1), call.input(2),
                  positions.present() ? positions.data<std::int64_t>() : nullptr, out});
}

}  // namespace

void register_rotary_embedding(OperatorTable& table) {
  table.add("RotaryEmbedding", cpu::checked<rotary_embedding, 3>, cpu::Half::native);
}

}  // namespace tare::cuda
