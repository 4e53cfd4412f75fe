// A user of the library: calibrates a model with batches that it makes itself and with data on disk, simulates it,
// exports it, and checks what comes out. The model is relu(x . [1, -1] + [0.5, 0.5]) with x of shape [N, 1].
#include <array>
#include <cmath>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <vector>

#include <tare/dataset.hpp>
#include <tare/export.hpp>
#include <tare/session.hpp>

namespace {

void require(bool holds, const char* what) {
  if (!holds) throw std::runtime_error(what);
}

/// The same from a file and into files, in an empty folder.
void from_disk_to_disk(const char* model, const std::filesystem::path& folder) {
  std::array<float, 32> values;
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 3.0f - 0.15f * static_cast<float>(i);
  tare::write_npy(folder / "x.npy", tare::Tensor::of({32, 1}, std::span<const float>(values)));
  tare::Session session(model);
  const auto data = tare::prefetch(tare::open_dataset(folder / "x.npy", session.graph()));
  tare::CalibrationOptions options;
  options.search.scheme = tare::Scheme::min_max;
  const tare::CalibrationResult result = session.calibrate(*data, options);
  require(result.samples == 32, "not all of the data was used");

  tare::save_encodings(result.encodings, tare::EncodingVersion::v1_0_0, folder / "m.encodings");
  tare::save_model(session.model(), folder / "m.onnx");
  tare::save_qdq_model(session.model(), result.encodings, folder / "m.qdq.onnx");
  const tare::EncodingSet read = tare::load_encodings(folder / "m.encodings");
  require(read.tensors.size() == result.encodings.tensors.size(), "encodings were lost on the way to the file");
  const std::vector<tare::Tensor> inputs{tare::Tensor::of({32, 1}, std::span<const float>(values))};
  session.set_encodings(read);
  const tare::Tensor simulated = session.simulate(inputs).at(0);
  tare::Session exported(folder / "m.onnx");
  tare::SessionOptions own;
  own.take_quantizers = true;
  tare::Session quantized(folder / "m.qdq.onnx", own);
  quantized.set_encodings(quantized.held_encodings());
  const tare::Tensor exact = exported.run(inputs).at(0), again = quantized.simulate(inputs).at(0);
  for (std::size_t i = 0; i < exact.span<float>().size(); ++i) {
    require(std::abs(exact.span<float>()[i] - simulated.span<float>()[i]) < 0.05f, "simulated is far from float");
    require(std::abs(again.span<float>()[i] - simulated.span<float>()[i]) < 0.05f, "the QDQ model is another one");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
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
    from_disk_to_disk(argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
