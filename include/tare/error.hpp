// One exception type for everything a user can get wrong or a machine can refuse. The message says what, where and what
// to do; `kind` lets a command pick its exit code. The library neither prints nor exits.
#pragma once

#include <stdexcept>
#include <string>

namespace tare {

enum class ErrorKind {
  usage,        ///< wrong option or combination of options
  model,        ///< a model, config or encodings file that cannot be read or does not hold together
  unsupported,  ///< a well-formed model that the backend cannot run
  data,         ///< calibration or evaluation data that does not fit the model, or holds NaN/inf
  io,           ///< a file that cannot be read or written
  interrupted,  ///< the caller asked to stop
  internal,     ///< a library reported a failure that has no better name
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace tare
