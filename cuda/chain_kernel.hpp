// The kernel of a node tare::Chain, which may have to run its steps as ordinary operators: the backend makes those.
#pragma once

#include <functional>

#include "operators.hpp"

namespace tare::cuda {

using CompileStep =
    std::function<std::unique_ptr<Kernel>(const Graph&, const Node&, const std::vector<const Tensor*>& constants)>;

bool is_chain(const Node& node);
std::unique_ptr<Kernel> make_chain(const Node& node, Device& device, CompileStep compile_step);

}  // namespace tare::cuda
