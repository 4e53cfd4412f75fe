// Chains in one launch: four neighbouring elements a thread (chain_elements.cuh).
#include "chain_elements.cuh"

namespace tare::cuda {
namespace {

template <bool wide>
void launch(const ChainProgram& program, StreamView stream) {
  const ChainElements<wide> elements(program);
  for_each<4>(elements.fours + (program.elements - 4 * elements.fours), stream, elements);
}

}  // namespace

void run_chain(const ChainProgram& program, StreamView stream) {
  if (program.elements == 0) return;
  if (program.type == DataType::float32)
    launch<true>(program, stream);
  else
    launch<false>(program, stream);
}

}  // namespace tare::cuda
