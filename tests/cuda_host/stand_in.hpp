// What tests may ask of the CUDA runtime's stand-in, and have it do.
#pragma once

#include <cstddef>

namespace tare::test {

struct StandIn {
  std::size_t captures = 0;  ///< begun
  std::size_t launches = 0;  ///< of graphs
  std::size_t graphs = 0;    ///< instantiated, and not destroyed
  std::size_t invalid = 0;   ///< captures that an unsuited call has made invalid
  bool fails_to_instantiate = false;
  bool fails_to_launch = false;
  bool poisons = false;  ///< device memory that is freed loses its bytes
  /// Every stream is free to be used: none is captured.
  bool idle = true;
};
StandIn& stand_in();

}  // namespace tare::test
