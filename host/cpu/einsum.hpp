// Einsum as it is planned, for any device: the equation, what a pair of operands contracts to, and how an operand is
// read. Odd: a label is an int. Letters are themselves; the dimensions of "..." are 256, 257, …, counted from the
// right.
#pragma once

#include <map>
#include <vector>

#include "cpu/operators.hpp"

namespace tare::cpu {

using Labels = std::vector<int>;
using Sizes = std::map<int, std::int64_t>;

struct Equation {
  std::vector<Labels> inputs;
  Labels output;
  Sizes sizes;
  /// Labels that the output or an operand behind `input` mentions.
  Labels needed_after(std::size_t input) const;
};
Equation parse_equation(const Call& call);

struct Axis {
  std::int64_t size, stride;
};
/// The elements of an operand in the order of `kept`, summed over every other label. Repeated labels walk the diagonal;
/// a dimension of 1 is repeated to the label's size.
struct Packing {
  std::vector<Axis> kept, summed;
};
Packing packing(const Labels& labels, const std::vector<std::int64_t>& dims, const Labels& kept, const Sizes& sizes);
std::int64_t steps_of(const std::vector<Axis>& axes);

/// Of one pair: what `needed` does not mention is summed.
struct Contraction {
  Labels batch, rows, inner, columns;
  Labels left() const { return joined(batch, rows, inner); }
  Labels right() const { return joined(batch, inner, columns); }
  Labels result() const { return joined(batch, rows, columns); }

 private:
  static Labels joined(Labels first, const Labels& second, const Labels& third);
};
Contraction contraction(const Labels& a, const Labels& b, const Labels& needed);
/// Of the labels' sizes.
std::int64_t product(const Labels& labels, const Sizes& sizes);

}  // namespace tare::cpu
