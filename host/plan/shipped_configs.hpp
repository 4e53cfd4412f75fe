// The files of configs/, compiled in.
#pragma once

#include <span>
#include <string_view>

namespace tare {

struct ShippedConfig {
  std::string_view name;
  std::string_view text;
};
std::span<const ShippedConfig> shipped_configs();

}  // namespace tare
