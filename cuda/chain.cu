// Chains in one launch (chain_elements.cuh).
#include "chain_elements.cuh"
#include "row_chain.hpp"

namespace tare::cuda {
namespace {

template <bool wide, bool saves>
void launch(const ChainProgram& program, StreamView stream) {
  const ChainElements<wide, saves> elements(program);
  for_each<4>(elements.vectors + (program.elements - elements.lanes * elements.vectors), stream, elements);
}

}  // namespace

void run_chain(const ChainProgram& program, StreamView stream) {
  if (program.elements == 0) return;
  if (program.row_step >= 0) return run_row_chain(program, stream);
  const bool wide = program.type == DataType::float32;
  if (program.saves())
    wide ? launch<true, true>(program, stream) : launch<false, true>(program, stream);
  else
    wide ? launch<true, false>(program, stream) : launch<false, false>(program, stream);
}

}  // namespace tare::cuda
