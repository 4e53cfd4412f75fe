// Chains with one step that computes with rows of the last dimension: a team of threads has a row at hand from the
// steps before to those behind.
#pragma once

#include "chain.hpp"

namespace tare::cuda {

/// run_chain() of a program with a row step.
void run_row_chain(const ChainProgram& program, StreamView stream);

/// One operation on rows alone, of `elements` in all.
void run_row_operation(const ChainRows& rows, const FloatInput& in, const FloatOutput& out, std::int64_t elements,
                       StreamView stream);

}  // namespace tare::cuda
