// The backends of this build, for tests whose body is the same on every one. One that has no device here is listed all
// the same, so that its tests are skipped by name.
#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "tare/backend.hpp"

namespace tare::test {

struct NamedBackend {
  std::string name;  ///< for names of tests
  std::function<std::unique_ptr<Backend>()> make;
  std::string missing;  ///< why it cannot be made here; empty when it can
  friend std::ostream& operator<<(std::ostream& stream, const NamedBackend& backend) { return stream << backend.name; }
};

std::vector<NamedBackend> backends();

}  // namespace tare::test
