// Simulation: quantizes every value that has a site, in place where nobody else looks.
#pragma once

#include <utility>
#include <vector>

#include "run/executor.hpp"
#include "tare/backend.hpp"

namespace tare {

class QuantizeHook final : public ValueHook {
 public:
  QuantizeHook(Backend& backend, const std::vector<TensorEncodings>& sites, Rounding rounding)
      : backend_(backend), sites_(sites), rounding_(rounding) {}
  Tensor on_value(std::size_t site, Tensor value) override {
    if (!is_quantizable(value.type())) return value;
    return backend_.quantize_dequantize(std::move(value), sites_[site], rounding_);
  }
  const void* repeats() const override { return &sites_; }

 private:
  Backend& backend_;
  const std::vector<TensorEncodings>& sites_;
  Rounding rounding_;
};

}  // namespace tare
