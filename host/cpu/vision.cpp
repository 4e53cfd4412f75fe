// Col2Im and MaxUnpool, and the table of the operators on images that are neither convolution, pooling nor resizing.
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "cpu/elementwise.hpp"
#include "cpu/sampling.hpp"

namespace tare::cpu {
namespace {

/// An attribute of `count` integers, or `otherwise` repeated; each at least `least`.
std::vector<std::int64_t> numbers(const Call& call, std::string_view name, std::size_t count, std::int64_t otherwise,
                                  std::int64_t least) {
  std::vector<std::int64_t> values = call.node.integers(name);
  if (values.empty()) values.assign(count, otherwise);
  if (values.size() != count) call.fail(fmt::format("{} must be {} numbers", name, count));
  for (const std::int64_t value : values)
    if (value < least || value > (std::int64_t{1} << 30)) call.fail(fmt::format("{} holds {}", name, value));
  return values;
}

}  // namespace

Col2Im plan_col2im(const Call& call) {
  const Tensor& in = call.input(0);
  const Shape image = call.input(1).to_shape(call.node.label() + ": image_shape");
  const Shape block = call.input(2).to_shape(call.node.label() + ": block_shape");
  const std::size_t rank = image.rank();
  if (rank == 0 || block.rank() != rank || rank + 2 > Shape::max_rank)
    call.fail("image and block shapes are of different ranks");
  if (in.rank() != 3) call.fail("takes tensors of rank 3, not " + in.shape().text());
  const auto dilations = numbers(call, "dilations", rank, 1, 1), strides = numbers(call, "strides", rank, 1, 1);
  const auto pads = numbers(call, "pads", 2 * rank, 0, 0);
  Shape columns;
  for (std::size_t d = 0; d < rank; ++d) {
    if (block[d] < 1 || image[d] < 0 || block[d] > (1 << 24) || image[d] > (std::int64_t{1} << 31))
      call.fail("a shape is out of range");
    const std::int64_t room = image[d] + pads[d] + pads[d + rank] - dilations[d] * (block[d] - 1) - 1;
    columns.push_back(room < 0 ? 0 : room / strides[d] + 1);
  }
  const std::int64_t taps = block.elements();
  if (taps <= 0 || in.shape()[1] % taps != 0 || in.shape()[2] != columns.elements())
    call.fail(fmt::format("the input {} does not hold blocks {} of an image {}", in.shape().text(), block.text(),
                          image.text()));
  Shape shape{in.shape()[0], in.shape()[1] / taps};
  for (const std::int64_t dim : image) shape.push_back(dim);
  return {image, block, columns, strides, dilations, pads, shape};
}

namespace {

void col2im(Call& call) {
  const Tensor& in = call.input(0);
  const auto [image, block, columns, strides, dilations, pads, shape] = plan_col2im(call);
  const std::size_t rank = image.rank();
  const std::int64_t taps = block.elements();
  Tensor& out = call.output(0, in.type(), shape);
  const std::int64_t pixels = image.elements();
  const std::int64_t planes = shape[0] * shape[1];
  dispatch(in.type(), call,
           [&, &image = image, &block = block, &columns = columns, &strides = strides, &dilations = dilations,
            &pads = pads]<class T>() {
             call.device.parallel(planes, 1, [&](std::int64_t begin, std::int64_t end) {
               for (std::int64_t p = begin; p < end; ++p) {
                 T* y = out.mutable_data<T>() + p * pixels;
                 std::fill_n(y, pixels, T{0});
                 const T* x = in.data<T>() + p * taps * in.shape()[2];
                 for (std::int64_t t = 0; t < taps; ++t)
                   for (std::int64_t c = 0; c < in.shape()[2]; ++c, ++x) {
                     std::int64_t tap = t, column = c, offset = 0, stride = 1;
                     bool inside = true;
                     for (std::size_t d = rank; d-- > 0;) {
                       const std::int64_t at =
                           column % columns[d] * strides[d] - pads[d] + tap % block[d] * dilations[d];
                       column /= columns[d];
                       tap /= block[d];
                       inside = inside && at >= 0 && at < image[d];
                       offset += at * stride;
                       stride *= image[d];
                     }
                     if (inside) y[offset] = static_cast<T>(Accumulator<T>(y[offset]) + Accumulator<T>(*x));
                   }
               }
             });
           });
}

}  // namespace

MaxUnpool plan_max_unpool(const Call& call) {
  const Tensor& in = call.input(0);
  const Tensor& indices = call.input(1);
  if (in.rank() < 3 || indices.type() != DataType::int64 || !(indices.shape() == in.shape()))
    call.fail("needs int64 indices of the input's shape " + in.shape().text());
  const std::size_t rank = in.rank() - 2;
  const auto kernel = numbers(call, "kernel_shape", rank, 1, 1), strides = numbers(call, "strides", rank, 1, 1);
  const auto pads = numbers(call, "pads", 2 * rank, 0, 0);
  Shape inferred{in.shape()[0], in.shape()[1]};
  for (std::size_t d = 0; d < rank; ++d) {
    const std::int64_t length = (in.shape()[d + 2] - 1) * strides[d] - pads[d] - pads[d + rank] + kernel[d];
    inferred.push_back(std::max<std::int64_t>(length, 0));
  }
  Shape shape = inferred;
  if (call.has(2)) {
    shape = call.input(2).to_shape(call.node.label() + ": output_shape");
    if (shape.rank() != inferred.rank()) call.fail("output_shape is of another rank");
    for (std::size_t d = 0; d < shape.rank(); ++d)
      if (shape[d] < inferred[d])
        call.fail(fmt::format("output_shape {} is smaller than {}", shape.text(), inferred.text()));
  }
  // Indices count in the inferred shape, which lies in the corner of the output.
  const std::int64_t limit = inferred.elements();
  MaxUnpool plan{shape, {}};
  for (std::int64_t index : indices.span<std::int64_t>()) {
    if (index < 0 || index >= limit) call.fail(fmt::format("index {} is out of range", index));
    std::int64_t offset = 0, stride = 1;
    for (std::size_t d = shape.rank(); d-- > 0;) {
      offset += index % inferred[d] * stride;
      index /= inferred[d];
      stride *= shape[d];
    }
    plan.offsets.push_back(offset);
  }
  return plan;
}

namespace {

void max_unpool(Call& call) {
  const Tensor& in = call.input(0);
  const MaxUnpool plan = plan_max_unpool(call);
  Tensor& out = call.output(0, in.type(), plan.output);
  dispatch(in.type(), call, [&]<class T>() {
    std::fill_n(out.mutable_data<T>(), out.elements(), T{0});
    for (std::size_t i = 0; i < plan.offsets.size(); ++i) out.mutable_data<T>()[plan.offsets[i]] = in.data<T>()[i];
  });
}

}  // namespace

void register_vision(OperatorTable& table) {
  table.add("GridSample", grid_sample);
  table.add("AffineGrid", affine_grid);
  table.add("RoiAlign", roi_align);
  table.add("MaxRoiPool", max_roi_pool);
  table.add("DeformConv", deform_conv);
  table.add("Col2Im", col2im);
  table.add("MaxUnpool", max_unpool);
}

}  // namespace tare::cpu
