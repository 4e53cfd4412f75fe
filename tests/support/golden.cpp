#include "support/golden.hpp"

#include <fstream>
#include <limits>
#include <sstream>

namespace tare::test {

std::vector<Batch> golden_batches(const GoldenModel& model, const Graph& graph) {
  const auto data = open_dataset(model.data("inputs.npz"), graph);
  std::vector<Batch> batches;
  while (auto batch = data->next()) batches.push_back(std::move(*batch));
  return batches;
}

double nmse(const Tensor& actual, const Tensor& expected) {
  if (actual.shape() != expected.shape()) return std::numeric_limits<double>::infinity();
  double error = 0;
  double power = 0;
  for (std::int64_t i = 0; i < expected.elements(); ++i) {
    const auto a = static_cast<double>(actual.data<float>()[i]);
    const auto e = static_cast<double>(expected.data<float>()[i]);
    error += (a - e) * (a - e);
    power += e * e;
  }
  return error == 0 ? 0 : error / power;
}

std::vector<double> aimet_output_sqnr(const GoldenModel& model, const std::string& run) {
  std::ifstream file(data_folder() / "golden/output_sqnr.tsv");
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string name;
    std::string which;
    fields >> name >> which;
    if (name != model.name || which != run) continue;
    std::vector<double> figures;
    for (double figure; fields >> figure;) figures.push_back(figure);
    return figures;
  }
  return {};
}

}  // namespace tare::test
