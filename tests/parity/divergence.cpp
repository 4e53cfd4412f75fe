#include "parity/divergence.hpp"

#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string_view>
#include <utility>

#include "parity/sums.hpp"
#include "plan/fuse.hpp"
#include "plan/quantized_graph.hpp"
#include "run/executor.hpp"

namespace tare::parity {
namespace {

/// The quantized model with every quantizer as a hook, so that each can be looked at.
class WatchedSimulation {
 public:
  using Watcher = std::function<void(std::size_t site, const Tensor& quantized)>;

  WatchedSimulation(const Graph& graph, const EncodingSet& encodings, Sums sums)
      : backend_(make_cpu_backend(cpu_options(sums))),
        quantized_(quantize_constants(graph, encodings, *backend_, Rounding::half_up)),
        executor_(make_runnable(quantized_.graph, quantized_.visible(), *backend_), *backend_,
                  quantized_.site_of_value) {}

  std::vector<Tensor> run(std::span<const Tensor> inputs, Watcher watcher) {
    Hook hook(*backend_, quantized_.sites, std::move(watcher), nullptr);
    return executor_.run(inputs, &hook);
  }
  std::vector<Tensor> run_moved(std::span<const Tensor> inputs, unsigned seed) {
    std::mt19937 random(seed);
    Hook hook(*backend_, quantized_.sites, {}, &random);
    return executor_.run(inputs, &hook);
  }
  const TensorEncodings& site(std::size_t index) const { return quantized_.sites[index]; }

 private:
  class Hook final : public ValueHook {
   public:
    Hook(Backend& backend, const std::vector<TensorEncodings>& sites, Watcher watcher, std::mt19937* random)
        : backend_(backend), sites_(sites), watcher_(std::move(watcher)), random_(random) {}
    Tensor on_value(std::size_t site, Tensor value) override {
      if (!is_quantizable(value.type())) return value;
      if (random_ != nullptr && value.type() == DataType::float32) value = moved(value);
      Tensor quantized = backend_.quantize_dequantize(std::move(value), sites_[site], Rounding::half_up);
      if (watcher_) watcher_(site, backend_.download(quantized));
      return quantized;
    }

   private:
    Tensor moved(const Tensor& value) {
      Tensor result = Tensor::host(value.type(), value.shape(), value.layout());
      constexpr float infinity = std::numeric_limits<float>::infinity();
      for (std::int64_t i = 0; i < value.elements(); ++i) {
        const float x = value.data<float>()[i];
        const auto draw = (*random_)() % 3;
        result.mutable_data<float>()[i] = x == 0 || draw == 0 ? x : std::nextafter(x, draw == 1 ? infinity : -infinity);
      }
      return result;
    }

    Backend& backend_;
    const std::vector<TensorEncodings>& sites_;
    Watcher watcher_;
    std::mt19937* random_;
  };

  std::unique_ptr<Backend> backend_;
  QuantizedGraph quantized_;
  Executor executor_;
};

std::size_t hash_of(const Tensor& tensor) {
  const auto* bytes = reinterpret_cast<const char*>(tensor.data());
  return std::hash<std::string_view>()({bytes, tensor.bytes()});
}

}  // namespace

const std::vector<Tensor>& Divergence::nearby_run(std::size_t number) {
  while (nearby.size() <= number) nearby.push_back(run_moved(static_cast<unsigned>(nearby.size())));
  return nearby[number];
}

Divergence find_divergence(const Graph& graph, const EncodingSet& encodings, std::span<const Tensor> inputs) {
  const auto kept = std::make_shared<WatchedSimulation>(graph, encodings, Sums::float32);
  WatchedSimulation& narrow = *kept;
  WatchedSimulation wide(graph, encodings, Sums::float64);
  // Hashes, because the values of a large model do not fit into memory together.
  std::vector<std::pair<std::size_t, std::size_t>> order;
  narrow.run(inputs, [&](std::size_t site, const Tensor& quantized) { order.emplace_back(site, hash_of(quantized)); });
  Divergence result;
  std::size_t at = 0;
  std::size_t first = order.size();
  Tensor b;
  result.nearby.push_back(wide.run(inputs, [&](std::size_t, const Tensor& quantized) {
    if (first == order.size() && hash_of(quantized) != order.at(at).second) {
      first = at;
      b = quantized;
    }
    ++at;
  }));
  result.run_moved = [kept, in = std::vector<Tensor>(inputs.begin(), inputs.end())](unsigned seed) {
    return kept->run_moved(in, seed);
  };
  if (first == order.size()) return result;
  const std::size_t site = order[first].first;
  const TensorEncodings& grid = narrow.site(site);
  Tensor a;
  narrow.run(inputs, [&](std::size_t other, const Tensor& quantized) {
    if (other == site) a = quantized;
  });
  result.tensor = grid.tensor;
  result.elements = static_cast<std::size_t>(a.elements());
  for (std::size_t i = 0; i < result.elements; ++i) {
    const double difference =
        std::abs(static_cast<double>(a.data<float>()[i]) - static_cast<double>(b.data<float>()[i]));
    if (difference == 0) continue;
    ++result.codes;
    result.largest_steps = std::max(result.largest_steps, difference / grid.encodings.at(0).scale);
  }
  return result;
}

}  // namespace tare::parity
