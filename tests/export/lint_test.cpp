// Every kind of finding on a small model, and AIMET's own files without any.
#include <gmock/gmock.h>

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "support/golden.hpp"
#include "support/model_builder.hpp"
#include "tare/error.hpp"
#include "tare/export.hpp"
#include "tare/lint.hpp"
#include "tare/session.hpp"

namespace tare {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// x → Conv(w1, b1) → c1 → MaxPool → p → Conv(w2) → c2 → Relu → r → Sigmoid → y
class Lint : public testing::Test {
 protected:
  void SetUp() override { calibrate({-0.3f, -0.05f, 0.2f, 0.45f}); }
  void calibrate(const std::vector<float>& second_weights) {
    onnx::ModelProto model = test::empty_model();
    onnx::GraphProto& graph = *model.mutable_graph();
    test::add_input(graph, "x", {-1, 2, 4, 4});
    test::add_output(graph, "y", {-1, 2, 2, 2});
    test::add_initializer<float>(graph, "w1", 1, {2, 2, 1, 1}, {-0.3f, -0.05f, 0.2f, 0.45f});
    test::add_initializer<float>(graph, "b1", 1, {2}, {0.1f, -0.2f});
    test::add_initializer(graph, "w2", 1, {2, 2, 1, 1}, second_weights);
    test::add_node(graph, "Conv", {"x", "w1", "b1"}, {"c1"}, "first");
    onnx::NodeProto& pool = test::add_node(graph, "MaxPool", {"c1"}, {"p"}, "pool");
    test::add_integers(pool, "kernel_shape", {2, 2});
    test::add_integers(pool, "strides", {2, 2});
    test::add_node(graph, "Conv", {"p", "w2"}, {"c2"}, "second");
    test::add_node(graph, "Relu", {"c2"}, {"r"}, "relu");
    test::add_node(graph, "Sigmoid", {"r"}, {"y"}, "sigmoid");
    session_.emplace(test::write_model(model, folder_ / "m.onnx"));
    Tensor input = Tensor::host(DataType::float32, {4, 2, 4, 4});
    values_.resize(static_cast<std::size_t>(input.elements()));
    for (std::size_t i = 0; i < values_.size(); ++i) values_[i] = std::sin(0.7f * static_cast<float>(i));
    std::copy(values_.begin(), values_.end(), input.mutable_data<float>());
    CalibrationOptions options;
    options.search.scheme = Scheme::min_max;
    options.keep_histograms = true;
    Calibration calibration = session_->start_calibration(options);
    calibration.add(std::array{input});
    CalibrationResult result = calibration.finish();
    set_ = std::move(result.encodings);
    statistics_ = std::move(result.statistics.derived);
    statistics_.insert(statistics_.end(), result.statistics.tensors.begin(), result.statistics.tensors.end());
  }
  LintReport report(bool with_data = false, EncodingVersion version = EncodingVersion::v1_0_0) const {
    const std::vector<QuantSite> sites = place(session_->graph(), load_config("default"));
    return lint_encodings(
        session_->graph(), sites, set_,
        with_data ? std::span<const NamedStatistics>(statistics_) : std::span<const NamedStatistics>(), version);
  }
  /// "kind tensor" of every finding.
  static std::vector<std::string> lines(const LintReport& report) {
    std::vector<std::string> result;
    for (const Finding& finding : report.findings)
      result.push_back(std::string(name_of(finding.kind)) + " " + finding.tensor);
    return result;
  }
  TensorEncodings& of(const std::string& tensor) {
    for (TensorEncodings& found : set_.tensors)
      if (found.tensor == tensor) return found;
    throw std::runtime_error("no encodings of " + tensor);
  }
  void scale(const std::string& tensor, double factor) {
    for (Encoding& encoding : of(tensor).encodings) {
      encoding.scale *= factor;
      encoding.min *= factor;
      encoding.max *= factor;
    }
  }

  test::TemporaryFolder folder_;
  std::optional<Session> session_;
  std::vector<float> values_;  ///< fed to x
  EncodingSet set_;
  std::vector<NamedStatistics> statistics_;
};

TEST_F(Lint, ACalibrationIsClean) {
  const LintReport clean = report(true);
  EXPECT_THAT(lines(clean), IsEmpty());
  EXPECT_EQ(clean.ranges, 4u);  // x, c1, r, y
  EXPECT_EQ(clean.checked, 4u);
  EXPECT_EQ(report().checked, 0u);
}

TEST_F(Lint, QuantizersWithoutEncodingAndEncodingsWithoutTensor) {
  of("c1").tensor = "ghost";
  const LintReport found = report();
  EXPECT_THAT(lines(found), ElementsAre("missing c1", "unknown ghost"));
  EXPECT_THAT(found.findings[0].detail, HasSubstr("8 bits asymmetric"));
}

TEST_F(Lint, AnotherKindThanThePlacedOne) {
  of("y").spec.bitwidth = 16;
  of("x").spec.bitwidth = 32;
  const LintReport found = report();
  ASSERT_THAT(lines(found), ElementsAre("mismatch x", "mismatch y"));
  EXPECT_THAT(found.findings[1].detail, HasSubstr("given 16 bits asymmetric, placed 8 bits asymmetric"));
}

TEST_F(Lint, EncodingsThatAreIgnored) {
  set_.tensors.push_back(of("r"));
  set_.tensors.back().tensor = "c2";
  const LintReport found = report();
  ASSERT_THAT(lines(found), ElementsAre("unplaced c2"));
  EXPECT_THAT(found.findings[0].detail, HasSubstr("Relu"));
}

/// What only repeats is counted; what says otherwise is found, for moved values and biases alike.
TEST_F(Lint, EncodingsThatAreDerivedAgain) {
  add_derived_encodings(set_, session_->graph());
  const LintReport repeated = report();
  EXPECT_THAT(lines(repeated), IsEmpty());
  EXPECT_THAT(repeated.repeated, testing::UnorderedElementsAre("p", "b1"));
  scale("p", 1.5);
  scale("b1", 0.999);
  const LintReport found = report();
  EXPECT_THAT(lines(found), testing::UnorderedElementsAre("derived p", "derived b1"));
  EXPECT_THAT(found.repeated, IsEmpty());
}

/// Version 2.0.0 promises every tensor, so that a converter calibrates none itself.
TEST_F(Lint, NewFilesListWhatFollows) {
  add_derived_encodings(set_, session_->graph());
  EXPECT_THAT(lines(report(false, EncodingVersion::v2_0_0)), IsEmpty());
  std::erase_if(set_.tensors, [](const TensorEncodings& t) { return t.tensor == "p" || t.tensor == "b1"; });
  const LintReport found = report(false, EncodingVersion::v2_0_0);
  EXPECT_THAT(lines(found), ElementsAre("missing p")) << "b1 is the one bias: made with --no-int32-bias";
  EXPECT_THAT(found.findings[0].detail, HasSubstr("8 bits, scale"));
  EXPECT_THAT(lines(report()), IsEmpty()) << "older versions list quantizers";
}

TEST_F(Lint, DeadTensorsAndChannels) {
  calibrate({0, 0, 0.2f, 0.45f});
  const LintReport found = report();
  ASSERT_THAT(lines(found), ElementsAre("dead w2"));
  EXPECT_THAT(found.findings[0].detail, HasSubstr("1 of 2 channels"));
  EXPECT_THAT(found.findings[0].detail, HasSubstr("first 0"));
  of("y").encodings[0] = {0, 255 * FLT_EPSILON, FLT_EPSILON, 0};
  EXPECT_THAT(lines(report()), ElementsAre("dead w2", "dead y"));
  of("w2").encodings.push_back(of("w2").encodings[0]);
  EXPECT_THROW(report(), Error);
}

TEST_F(Lint, DataOfZerosIsDeadWhateverItsGrid) {
  EXPECT_THAT(lines(report(true)), IsEmpty());
  for (NamedStatistics& entry : statistics_)
    if (entry.tensor == "y") entry.statistics = observe_values(std::vector<float>(100));
  EXPECT_THAT(lines(report(true)), ElementsAre("dead y"));
  EXPECT_THAT(lines(report()), IsEmpty());
}

TEST_F(Lint, RangesThatClipTheData) {
  scale("x", 0.8);
  EXPECT_THAT(lines(report()), IsEmpty()) << "not checked";
  const LintReport found = report(true);
  ASSERT_THAT(lines(found), ElementsAre("clipped x"));
  const std::string& detail = found.findings[0].detail;
  const Encoding& grid = of("x").encodings[0];
  std::size_t outside = 0;
  for (const float value : values_) outside += value < grid.min - grid.scale || value > grid.max + grid.scale ? 1 : 0;
  const double percent = 100.0 * static_cast<double>(outside) / static_cast<double>(values_.size());
  EXPECT_NEAR(std::stod(detail.substr(detail.find("clips ") + 6)), percent, 2) << "within the bins at the limits";
}

TEST_F(Lint, OneStepBeyondALimitIsNotClipped) {
  Encoding& grid = of("x").encodings[0];
  grid.scale *= 254.0 / 255.0;  // the last code of each side moves by half a step
  grid.min *= 254.0 / 255.0;
  grid.max *= 254.0 / 255.0;
  EXPECT_THAT(lines(report(true)), IsEmpty());
}

TEST_F(Lint, SentinelsAreNotClipped) {
  for (NamedStatistics& entry : statistics_)
    if (entry.tensor == "x") {
      std::vector<float> values(100, -1e9f);
      for (int i = 0; i < 100; ++i) values.push_back(0.01f * static_cast<float>(i));
      entry.statistics = observe_values(values);
    }
  of("x").encodings[0] = {-20, 1 + 1.0 / 256, 21.0 / 255, -243};
  EXPECT_THAT(lines(report(true)), IsEmpty());
}

/// Silero's short-time Fourier transform has sines of frequency zero: two channels of zeros, and nothing else to say.
TEST(LintAimet, FilesOfAimetFit) {
  struct Case {
    const char* model;
    const char* file;
    std::vector<std::string> dead;
    std::size_t repeated;
  };
  for (const Case& given :
       {Case{"nmp.onnx", "basic_pitch.v0.6.1.encodings", {}, 0},
        Case{"silero_vad_16k_sequence.onnx", "silero_vad.v1.0.0.encodings", {"stft.forward_basis_buffer"}, 0},
        Case{"silero_vad_16k_sequence.onnx", "silero_vad.v2.0.0.encodings", {"stft.forward_basis_buffer"}, 16}}) {
    const Model model = load_model(test::cache_folder() / "models" / given.model);
    const EncodingsFile theirs = load_encodings_file(test::data_folder() / "encodings" / given.file);
    const LintReport report =
        lint_encodings(model.graph, place(model.graph, load_config("default")), theirs.set, {}, theirs.version);
    std::vector<std::string> dead;
    for (const Finding& finding : report.findings) {
      EXPECT_EQ(finding.kind, FindingKind::dead) << finding.tensor << ": " << finding.detail;
      EXPECT_THAT(finding.detail, HasSubstr("2 of 258 channels"));
      dead.push_back(finding.tensor);
    }
    EXPECT_EQ(dead, given.dead) << given.file;
    EXPECT_EQ(report.repeated.size(), given.repeated);
  }
}

}  // namespace
}  // namespace tare
