// What tests may ask of the CUDA runtime's stand-in, and have it do.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

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

  int cache_bytes = 1 << 20;        ///< of the second level: chains count what is larger than half of it
  std::vector<float> elapsed_ms{};  ///< between two events, one after the other; then 1

  int devices = 1;
  int device = 0;                              ///< the current one
  std::size_t device_changes = 0;              ///< calls that make one current
  std::size_t strays = 0;                      ///< handles and memory let go while another device was current
  std::map<const void*, std::size_t> takes{};  ///< of device memory, by pool; null: that of the device
  std::size_t takes_to_fail = 0;
  std::size_t uploaded = 0;  ///< bytes from the host, those of graphs aside
  bool logs = false;
  std::string log{};  ///< x: there was no memory, s: a stream waited for, t: a pool trimmed, g: a graph destroyed
};
StandIn& stand_in();

}  // namespace tare::test
