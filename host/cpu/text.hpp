// Strings in operators that are not about strings alone.
#pragma once

#include "cpu/operators.hpp"

namespace tare::cpu {

/// Numbers as text, as short as reads back to the same number; booleans as 1 and 0, NaN, INF and -INF by name.
Tensor number_to_text(const Call& call, const Tensor& numbers);
/// Text as numbers: int64 when `integers`, else float64. Fails naming the text that is no such number.
Tensor text_to_number(const Call& call, const Tensor& texts, bool integers);

/// Part of register_text: the ai.onnx.ml domain.
void register_labels(OperatorTable&);

}  // namespace tare::cpu
