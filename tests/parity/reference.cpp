#include "parity/reference.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "tare/dataset.hpp"

namespace tare::parity {
namespace {

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields;
  std::istringstream stream(line);
  for (std::string field; std::getline(stream, field, '\t');) fields.push_back(field);
  return fields;
}

}  // namespace

Reference load_reference(const test::GoldenModel& model, const GoldenRun& run) {
  const NpzFile pool(model.data("encodings.npz"));
  const Tensor scales = pool.read("scale");
  const Tensor offsets = pool.read("offset");
  std::ifstream file(model.data("quantizers.tsv"));
  std::string line;
  if (!std::getline(file, line)) throw std::runtime_error("cannot read " + model.data("quantizers.tsv").string());
  const std::vector<std::string> heading = fields_of(line);
  const auto column = static_cast<std::size_t>(std::find(heading.begin(), heading.end(), run.name) - heading.begin());
  Reference reference;
  while (std::getline(file, line)) {
    const std::vector<std::string> fields = fields_of(line);
    const std::string& field = fields.at(column);
    if (field == "-") continue;
    const std::size_t at = field.find(" @");
    Quantizer quantizer{field.substr(0, at), {}};
    const std::int64_t begin = std::stoll(field.substr(at + 2));
    const std::int64_t count = std::stoll(field.substr(field.rfind('x', at) + 1));
    for (std::int64_t i = begin; i < begin + count; ++i)
      quantizer.grids.push_back({scales.data<float>()[i], offsets.data<std::int32_t>()[i]});
    reference[fields[0]] = std::move(quantizer);
  }
  return reference;
}

std::string describe(SiteRole role, const QuantizerSpec& spec, std::size_t grids) {
  return fmt::format("{} int{} {}{}{} x{}", role == SiteRole::parameter ? "parameter" : "activation", spec.bitwidth,
                     spec.symmetric ? "symmetric" : "asymmetric", spec.strict_symmetric ? " strict" : "",
                     spec.unsigned_symmetric ? " unsigned" : "", grids);
}

}  // namespace tare::parity
