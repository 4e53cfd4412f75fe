// Encodings of eight real models against AIMET's, tensor by tensor, on the same batches of data.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "support/golden.hpp"
#include "tare/session.hpp"

namespace tare {
namespace {

struct Sample {
  std::size_t channel;
  double scale;
  double offset;
};
/// What the file of a run says of one tensor: how many encodings it has, and a few of them.
struct Reference {
  std::string tensor;
  std::size_t channels;
  std::vector<Sample> samples;
};

std::vector<Reference> read_references(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::vector<Reference> references;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#')) continue;
    Reference reference;
    std::istringstream fields(line);
    std::getline(fields, reference.tensor, '\t');
    fields >> reference.channels;
    for (Sample sample; fields >> sample.channel >> sample.scale >> sample.offset;) reference.samples.push_back(sample);
    references.push_back(std::move(reference));
  }
  return references;
}

/// Why the tensor's encodings differ; empty when they agree.
std::string difference(const EncodingSet& found, const Reference& reference) {
  const TensorEncodings* ours = found.find(reference.tensor, SiteRole::activation);
  if (ours == nullptr) ours = found.find(reference.tensor, SiteRole::parameter);
  if (ours == nullptr) return "has no encoding";
  if (ours->encodings.size() != reference.channels)
    return fmt::format("{} encodings, not {}", ours->encodings.size(), reference.channels);
  for (const Sample& sample : reference.samples) {
    const Encoding& encoding = ours->encodings[sample.channel];
    if (std::abs(encoding.scale - sample.scale) > 1e-4 * sample.scale || encoding.offset != sample.offset)
      return fmt::format("channel {}: scale {:.7g} offset {}, AIMET {:.7g} {}", sample.channel, encoding.scale,
                         encoding.offset, sample.scale, sample.offset);
  }
  return {};
}

/// Masks of -FLT_MAX: AIMET's float32 arithmetic overflows on their histogram, and its encoding is not worth copying.
bool overflows_aimet(const EncodingSet& found, const std::string& tensor) {
  const TensorEncodings* ours = found.find(tensor, SiteRole::activation);
  return ours != nullptr && ours->encodings.front().min < -1e37;
}

class AimetParity : public testing::TestWithParam<test::GoldenModel> {
 public:
  /// At most one tensor, or `share` of them, may differ; those that do are printed.
  static void compare(Scheme scheme, const std::string& run, double share) {
    // AIMET's rounding of the weights too: a weight that rounds the other way moves the activations behind it.
    SessionOptions aimets;
    aimets.rounding = Rounding::half_up;
    Session session(GetParam().model(), aimets);
    CalibrationOptions options;
    options.search.scheme = scheme;
    Calibration calibration = session.start_calibration(options);
    for (const Batch& batch : test::golden_batches(GetParam(), session.graph()))
      calibration.add(batch.inputs, batch.samples);
    const EncodingSet found = calibration.finish().encodings;
    const std::vector<Reference> references = read_references(GetParam().data(run + ".tsv"));
    EXPECT_FALSE(references.empty());
    std::size_t differing = 0;
    for (const Reference& reference : references) {
      const std::string why = difference(found, reference);
      if (why.empty()) continue;
      const bool overflow = scheme == Scheme::tf_enhanced && overflows_aimet(found, reference.tensor);
      if (!overflow) ++differing;
      fmt::print("  {}: '{}' {}{}\n", run, reference.tensor, why, overflow ? " (overflow)" : "");
    }
    EXPECT_EQ(found.tensors.size(), references.size());
    fmt::print("{:12} {}: {} of {} tensors differ\n", GetParam().name, run, differing, references.size());
    EXPECT_LE(static_cast<double>(differing), std::max(1.0, share * static_cast<double>(references.size())));
  }
};

// The one of silero_vad: after calibration AIMET raises the scale of an empty channel against overflow of int32 sums.
TEST_P(AimetParity, MinMax) { compare(Scheme::min_max, "min_max.default.a8", 0.005); }
TEST_P(AimetParity, TfEnhanced) { compare(Scheme::tf_enhanced, "tf_enhanced.default.a8", 0.03); }

INSTANTIATE_TEST_SUITE_P(Models, AimetParity, testing::ValuesIn(test::golden_models),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace tare
