// NonMaxSuppression: of overlapping boxes, those with the highest scores, a class and a batch at a time.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "cpu/arguments.hpp"
#include "cpu/sorting.hpp"

namespace tare::cpu {
namespace {

struct Box {
  float top, left, bottom, right;
  float area() const { return (bottom - top) * (right - left); }
};

/// Corners in any order, or center and size.
Box box_of(const float* values, bool center) {
  if (center) {
    const float half_width = values[2] / 2;
    const float half_height = values[3] / 2;
    return {values[1] - half_height, values[0] - half_width, values[1] + half_height, values[0] + half_width};
  }
  return {std::min(values[0], values[2]), std::min(values[1], values[3]), std::max(values[0], values[2]),
          std::max(values[1], values[3])};
}

bool overlaps(const Box& a, const Box& b, float threshold) {
  const Box common{std::max(a.top, b.top), std::max(a.left, b.left), std::min(a.bottom, b.bottom),
                   std::min(a.right, b.right)};
  if (common.bottom <= common.top || common.right <= common.left) return false;
  const float intersection = common.area();
  const float united = a.area() + b.area() - intersection;
  if (a.area() <= 0 || b.area() <= 0 || united <= 0) return false;
  return intersection / united > threshold;
}

float real_of(const Call& call, std::size_t input, std::string_view what, float otherwise) {
  if (!call.has(input)) return otherwise;
  if (call.input(input).type() != DataType::float32 || call.input(input).elements() != 1)
    call.fail(fmt::format("{} must be one float", what));
  return *call.input(input).data<float>();
}

void non_max_suppression(Call& call) {
  const Tensor& boxes = call.input(0);
  const Tensor& scores = call.input(1);
  if (boxes.type() != DataType::float32 || scores.type() != DataType::float32)
    call.fail("boxes and scores must be float32");
  if (boxes.rank() != 3 || scores.rank() != 3 || boxes.shape()[2] != 4 || boxes.shape()[0] != scores.shape()[0] ||
      boxes.shape()[1] != scores.shape()[2])
    call.fail(fmt::format("boxes of shape {} and scores of shape {} do not fit", boxes.shape().text(),
                          scores.shape().text()));
  const std::int64_t most = call.has(2) ? integer_of(call, 2, "max_output_boxes_per_class") : 0;
  const float iou_threshold = real_of(call, 3, "iou_threshold", 0);
  const bool scored = call.has(4);
  const float score_threshold = real_of(call, 4, "score_threshold", 0);
  const bool center = call.node.integer("center_point_box", 0) != 0;
  if (!(iou_threshold >= 0 && iou_threshold <= 1)) call.fail(fmt::format("an iou_threshold of {}", iou_threshold));

  const std::int64_t count = boxes.shape()[1];
  const std::int64_t classes = scores.shape()[1];
  const std::int64_t lists = most > 0 ? scores.shape()[0] * classes : 0;
  std::vector<std::vector<std::int64_t>> selected(static_cast<std::size_t>(lists));
  call.device.parallel(
      lists, std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(count, 1)),
      [&](std::int64_t begin, std::int64_t end) {
        std::vector<std::int64_t> order;
        std::vector<Box> kept;
        for (std::int64_t l = begin; l < end; ++l) {
          const float* score = scores.data<float>() + l * count;
          order.clear();
          kept.clear();
          // A NaN is no score; without it the order is well defined.
          for (std::int64_t i = 0; i < count; ++i)
            if (scored ? score[i] > score_threshold : score[i] == score[i]) order.push_back(i);
          std::sort(order.begin(), order.end(),
                    [&](std::int64_t a, std::int64_t b) { return score[a] != score[b] ? score[a] > score[b] : a < b; });
          auto& chosen = selected[static_cast<std::size_t>(l)];
          for (const std::int64_t i : order) {
            if (static_cast<std::int64_t>(chosen.size()) >= most) break;
            const Box box = box_of(boxes.data<float>() + (l / classes * count + i) * 4, center);
            if (std::any_of(kept.begin(), kept.end(), [&](const Box& k) { return overlaps(box, k, iou_threshold); }))
              continue;
            kept.push_back(box);
            chosen.push_back(i);
          }
        }
      });

  std::int64_t total = 0;
  for (const auto& chosen : selected) total += static_cast<std::int64_t>(chosen.size());
  std::int64_t* out = call.output(0, DataType::int64, {total, 3}).mutable_data<std::int64_t>();
  for (std::int64_t l = 0; l < lists; ++l)
    for (const std::int64_t i : selected[static_cast<std::size_t>(l)]) {
      *out++ = l / classes;
      *out++ = l % classes;
      *out++ = i;
    }
}

}  // namespace

void register_non_max_suppression(OperatorTable& table) {
  table.add("NonMaxSuppression", checked<non_max_suppression, 2>);
}

}  // namespace tare::cpu
