#include "cpu/recurrent_activation.hpp"

#include <fmt/format.h>

#include "tare/error.hpp"

namespace tare::cpu {
namespace {

struct ActivationName {
  std::string_view name;  ///< lower case
  Activation::Kind kind;
  int parameters;  ///< how many of alpha, beta it takes
  double alpha = 0;
  double beta = 0;
};

constexpr ActivationName activation_names[] = {
    {"relu", Activation::Kind::relu, 0},
    {"tanh", Activation::Kind::tanh, 0},
    {"sigmoid", Activation::Kind::sigmoid, 0},
    {"affine", Activation::Kind::affine, 2, 1, 0},
    {"leakyrelu", Activation::Kind::leaky_relu, 1, 0.01},
    {"thresholdedrelu", Activation::Kind::thresholded_relu, 1, 1},
    {"scaledtanh", Activation::Kind::scaled_tanh, 2, 1, 1},
    {"hardsigmoid", Activation::Kind::hard_sigmoid, 2, 0.2, 0.5},
    {"elu", Activation::Kind::elu, 1, 1},
    {"softsign", Activation::Kind::softsign, 0},
    {"softplus", Activation::Kind::softplus, 0},
};

}  // namespace

std::vector<Activation> activations_of(const Node& node, std::size_t directions,
                                       std::span<const std::string_view> defaults) {
  std::vector<std::string> names = node.texts("activations");
  if (names.empty())
    for (std::size_t d = 0; d < directions; ++d) names.insert(names.end(), defaults.begin(), defaults.end());
  if (names.size() != directions * defaults.size())
    throw Error(ErrorKind::model, fmt::format("{}: {} activations instead of {}", node.label(), names.size(),
                                              directions * defaults.size()));
  const std::vector<float> alphas = node.reals("activation_alpha");
  const std::vector<float> betas = node.reals("activation_beta");
  std::size_t alpha = 0;
  std::size_t beta = 0;
  std::vector<Activation> result;
  for (std::string& name : names) {
    for (char& letter : name)
      if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
    const auto* const known = std::find_if(std::begin(activation_names), std::end(activation_names),
                                           [&](const ActivationName& a) { return a.name == name; });
    if (known == std::end(activation_names))
      throw Error(ErrorKind::model, fmt::format("{}: activation '{}' is not known", node.label(), name));
    Activation activation{known->kind, known->alpha, known->beta};
    if (known->parameters > 0 && alpha < alphas.size()) activation.alpha = static_cast<double>(alphas[alpha++]);
    if (known->parameters > 1 && beta < betas.size()) activation.beta = static_cast<double>(betas[beta++]);
    result.push_back(activation);
  }
  return result;
}

}  // namespace tare::cpu
