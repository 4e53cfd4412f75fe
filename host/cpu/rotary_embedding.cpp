#include "cpu/rotary_embedding.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cpu/normalization.hpp"

namespace tare::cpu {
namespace {

/// The input's features, pair by pair: real = cos x1 - sin x2, imaginary = sin x1 + cos x2.
template <class T>
void rotate(Call& call, const RotaryView& view) {
  const T* in = call.input(0).data<T>();
  const T* cosines = call.input(1).data<T>();
  const T* sines = call.input(2).data<T>();
  const std::int64_t* given =
      call.has(RotaryView::positions_input) ? call.input(RotaryView::positions_input).data<std::int64_t>() : nullptr;
  T* out = call.output(0, type_of<T>(), call.input(0).shape()).template mutable_data<T>();
  const std::int64_t half = view.rotated / 2;
  const std::int64_t places = view.batch * view.positions;
  call.device.parallel(places, std::max<std::int64_t>(1, 8192 / (view.heads * view.features + 1)),
                       [&](std::int64_t begin, std::int64_t end) {
                         for (std::int64_t place = begin; place < end; ++place) {
                           const std::int64_t b = place / view.positions;
                           const std::int64_t p = place % view.positions;
                           const std::int64_t row = given != nullptr ? given[place] : place;
                           for (std::int64_t h = 0; h < view.heads; ++h) {
                             const T* from = in + view.strides.at(b, h, p);
                             T* to = out + view.strides.at(b, h, p);
                             for (std::int64_t pair = 0; pair < half; ++pair) {
                               const T cosine = cosines[row * half + pair];
                               const T sine = sines[row * half + pair];
                               const T x = from[view.first(pair)];
                               const T y = from[view.second(pair)];
                               to[view.first(pair)] = cosine * x - sine * y;
                               to[view.second(pair)] = sine * x + cosine * y;
                             }
                             std::copy(from + view.rotated, from + view.features, to + view.rotated);
                           }
                         }
                       });
}

void rotary_embedding(Call& call) {
  const RotaryView view = rotary_view(call);
  if (call.has(RotaryView::positions_input)) check_positions(call, view);
  dispatch_real(call, call.input(0).type(), [&]<class T>() { rotate<T>(call, view); });
}

}  // namespace

RotaryView rotary_view(const Call& call) {
  const Shape& shape = call.input(0).shape();
  RotaryView view;
  if (shape.rank() == 4) {
    view.batch = shape[0];
    view.heads = shape[1];
    view.positions = shape[2];
    view.features = shape[3];
    view.strides = {shape.elements(1, 4), shape.elements(2, 4), shape[3]};
  } else if (shape.rank() == 3) {
    view.heads = call.node.integer("num_heads", 0);
    if (view.heads <= 0) call.fail("an input of rank 3 needs num_heads");
    if (shape[2] % view.heads != 0 || view.heads > std::max<std::int64_t>(shape[2], 1))
      call.fail(fmt::format("{} features are not {} heads", shape[2], view.heads));
    view.batch = shape[0];
    view.positions = shape[1];
    view.features = shape[2] / view.heads;
    view.strides = {shape[1] * shape[2], view.features, shape[2]};
  } else {
    call.fail(fmt::format("takes rank 3 and 4, not the shape {}", shape.text()));
  }
  view.interleaved = call.node.integer("interleaved", 0) != 0;
  view.rotated = call.node.integer("rotary_embedding_dim", 0);
  if (view.rotated == 0) view.rotated = view.features;
  if (view.rotated < 0 || view.rotated % 2 != 0 || view.rotated > view.features)
    call.fail(fmt::format("{} of {} features cannot be turned in pairs", view.rotated, view.features));
  for (const std::size_t cache : {1u, 2u}) {
    const Tensor& tensor = call.input(cache);
    if (tensor.type() != call.input(0).type() || !(tensor.shape() == call.input(1).shape()))
      call.fail(fmt::format("caches of types {} and {} and shapes {} and {}", name_of(call.input(1).type()),
                            name_of(tensor.type()), call.input(1).shape().text(), tensor.shape().text()));
  }
  const Shape& cache = call.input(1).shape();
  const bool given = call.has(RotaryView::positions_input);
  if (cache.rank() != (given ? 2u : 3u) || cache.back() != view.rotated / 2 ||
      (!given && (cache[0] != view.batch || cache[1] != view.positions)))
    call.fail(fmt::format("caches of shape {} for {} x {} positions and {} pairs", cache.text(), view.batch,
                          view.positions, view.rotated / 2));
  if (given) {
    const Tensor& positions = call.input(RotaryView::positions_input);
    if (positions.type() != DataType::int64 || !(positions.shape() == Shape{view.batch, view.positions}))
      call.fail(fmt::format("position_ids of type {} and shape {}, not [{}, {}]", name_of(positions.type()),
                            positions.shape().text(), view.batch, view.positions));
  }
  view.angles = cache[0];
  return view;
}

void check_positions(const Call& call, const RotaryView& view) {
  const Tensor& positions = call.input(RotaryView::positions_input);
  for (const std::int64_t position : positions.span<std::int64_t>())
    if (position < 0 || position >= view.angles)
      call.fail(fmt::format("position {} of {} in the caches", position, view.angles));
}

void register_rotary_embedding(OperatorTable& table) { table.add("RotaryEmbedding", rotary_embedding); }

}  // namespace tare::cpu
