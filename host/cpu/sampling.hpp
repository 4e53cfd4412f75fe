// Operators that read an image at positions computed from other tensors: parts of register_vision.
#pragma once

#include "cpu/operators.hpp"

namespace tare::cpu {

void grid_sample(Call& call);
void affine_grid(Call& call);
void roi_align(Call& call);
void max_roi_pool(Call& call);
void deform_conv(Call& call);

}  // namespace tare::cpu
