#include <fmt/format.h>

#include "parity/checks.hpp"

namespace tare::parity {

Cell compare_quantizers(const Subject& subject) {
  Cell cell;
  std::size_t same = 0;
  std::size_t ours = 0;
  for (const TensorEncodings& found : subject.found.encodings.tensors) {
    ++ours;
    const std::string kind = describe(found.role, found.spec, found.encodings.size());
    const auto it = subject.reference.find(found.tensor);
    if (it == subject.reference.end())
      cell.failures.push_back(fmt::format("'{}': {}, AIMET has no quantizer there", found.tensor, kind));
    else if (it->second.kind != kind)
      cell.failures.push_back(fmt::format("'{}': {}, AIMET {}", found.tensor, kind, it->second.kind));
    else
      ++same;
  }
  for (const auto& [tensor, quantizer] : subject.reference)
    if (subject.found.encodings.find(tensor, SiteRole::activation) == nullptr &&
        subject.found.encodings.find(tensor, SiteRole::parameter) == nullptr)
      cell.failures.push_back(fmt::format("'{}': no quantizer, AIMET {}", tensor, quantizer.kind));
  cell.text = fmt::format("{} of {}", same, std::max(ours, subject.reference.size()));
  return cell;
}

}  // namespace tare::parity
