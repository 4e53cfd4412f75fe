// A user of the library: calibrates a model with batches that it makes itself, simulates it, and checks what comes out.
// The model is relu(x . [1, -1] + [0.5, 0.5]) with x of shape [N, 1].
#include <array>
#include <cmath>
#include <cstdio>
#include <exception>
#include <span>
#include <vector>

#include <tare/session.hpp>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    tare::Session session(argv[1]);
    tare::Calibration calibration = session.start_calibration({});
    for (int batch = 0; batch < 4; ++batch) {
      std::array<float, 8> values;
      for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<float>(batch) - 0.25f * static_cast<float>(i);
      const std::vector<tare::Tensor> inputs{tare::Tensor::of({8, 1}, std::span<const float>(values))};
      calibration.add(inputs);
    }
    const tare::CalibrationResult result = calibration.finish();
    if (result.samples != 32 || result.batches != 4 || result.encodings.tensors.empty()) {
      std::fprintf(stderr, "%zu samples, %zu batches, %zu encodings\n", result.samples, result.batches,
                   result.encodings.tensors.size());
      return 1;
    }
    session.set_encodings(result.encodings);
    const std::array<float, 2> x{1.0f, -0.75f};
    const std::vector<tare::Tensor> inputs{tare::Tensor::of({2, 1}, std::span<const float>(x))};
    const tare::Tensor exact = session.run(inputs).at(0), quantized = session.simulate(inputs).at(0);
    const std::array<float, 4> expected{1.5f, 0.0f, 0.0f, 1.25f};
    for (std::size_t i = 0; i < expected.size(); ++i)
      if (exact.span<float>()[i] != expected[i] || std::abs(quantized.span<float>()[i] - expected[i]) > 0.05f) {
        std::fprintf(stderr, "output %zu: %g, simulated %g, should be %g\n", i,
                     static_cast<double>(exact.span<float>()[i]), static_cast<double>(quantized.span<float>()[i]),
                     static_cast<double>(expected[i]));
        return 1;
      }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
