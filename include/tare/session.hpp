// The library's front door: one model on one device. Load it, run it, calibrate it with data that is pulled from a
// Dataset or pushed batch by batch, simulate it with the encodings found, export it. The command `tare` is a thin
// client.
//
//   tare::Session session("model.onnx");
//   auto data = tare::open_dataset("data.npz", session.graph());
//   tare::CalibrationResult result = session.calibrate(*data, {});
//   session.set_encodings(result.encodings);
//   std::vector<tare::Tensor> outputs = session.simulate(inputs);
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tare/backend.hpp"
#include "tare/calibration.hpp"
#include "tare/dataset.hpp"
#include "tare/model.hpp"
#include "tare/overrides.hpp"
#include "tare/placement.hpp"
#include "tare/quantizer.hpp"

namespace tare {

struct SessionOptions {
  std::string device = "auto";  ///< "auto" or "cpu"; for a GPU hand the Session a backend (make_cuda_backend())
  CpuOptions cpu;
  Rounding rounding = Rounding::half_even;
  /// The quantizers of a QDQ model become sites with given encodings, and `model()` is the float model without them.
  /// Otherwise they are operators like any other.
  bool take_quantizers = false;
  /// Once this is true, what runs ends before the next node of the model with Error(interrupted); the caller's, from a
  /// signal handler or another thread. It must outlive the session.
  const std::atomic<bool>* stop = nullptr;
};

/// What to do about NaN and infinities in observed tensors.
enum class NonfinitePolicy : std::uint8_t {
  error,  ///< stop, naming the first tensor, sample and index
  skip,   ///< leave them out of the statistics
};

/// Told before every batch and at the end, by one thread at a time, which need not be the caller's; return false to
/// stop (calibrate then throws Error(interrupted)).
using Progress = std::function<bool(std::size_t samples_done, std::size_t samples_total)>;

struct CalibrationOptions {
  std::string config = "default";  ///< a shipped config's name or a file
  PlacementOptions types;
  SiteSelection selection;
  std::vector<SiteOverride> overrides;
  std::optional<GivenEncodings> given;  ///< not searched; what is missing there is calibrated
  bool recalibrate = false;             ///< forget the encodings that the model itself holds
  SearchOptions search;
  std::optional<Scheme> parameter_scheme;  ///< of the weights; none: the same as of the activations
  bool observe_quantized_weights = true;   ///< false: statistics do not depend on weight settings
  bool keep_histograms = false;            ///< also for min_max, so that the statistics can be saved and searched again
  /// Also element-wise functions of what is read anyway; false: their histograms follow from their operands'.
  bool read_every_tensor = false;
  bool refine = false;  ///< a second pass over the data measures the true error of the best candidates
  NonfinitePolicy nonfinite = NonfinitePolicy::error;
  Progress progress;
};

struct CalibrationResult {
  std::vector<QuantSite> sites;
  EncodingSet encodings;
  StatisticsFile statistics;            ///< of the activations, by tensor, with their fingerprint
  std::vector<std::string> warnings;    ///< sentinels, values lost by tf_enhanced, tensors without data: one line each
  std::vector<std::string> mismatches;  ///< between the given encodings and the quantizers they were given to
  std::size_t given = 0;                ///< quantizers whose encodings were given
  std::size_t samples = 0;
  std::size_t batches = 0;
  double seconds = 0;  ///< wall clock of the whole calibration
};

/// A calibration whose data is pushed by the caller. Made by Session::start_calibration; the session must outlive it.
class Calibration {
 public:
  ~Calibration();
  Calibration(Calibration&&) noexcept;
  Calibration& operator=(Calibration&&) noexcept;

  /// One batch, in the order of graph.inputs. `samples`: how many samples it holds (0: its first dimension). It may
  /// still run when this returns: small batches of small models run on one thread each, beside each other, and what is
  /// wrong with one of them is thrown by a later add(), by wait() or by finish(). A batch that fails in the model ends
  /// the calibration: whatever is called afterwards throws the same. The inputs may be written over; on a device that
  /// runs behind, a NaN of a batch that is gone is reported without its tensor.
  void add(std::span<const Tensor> inputs, std::size_t samples = 0);
  /// Until all batches are done.
  void wait();
  /// For the second pass of `refine`: search, then measure candidates on the same batches again.
  void start_refinement();
  /// Behind all batches, and the end: from then on all but wait() throws Error(usage).
  CalibrationResult finish();

 private:
  friend class Session;
  struct Implementation;
  explicit Calibration(std::unique_ptr<Implementation> implementation);
  std::unique_ptr<Implementation> implementation_;
};

/// Of one batch; the outputs of a model that was not asked for are empty.
struct BatchOutputs {
  std::vector<Tensor> exact;  ///< of the float model
  std::vector<Tensor> simulated;
  double exact_seconds = 0;  ///< of the run alone, beside those of other batches
  double simulated_seconds = 0;
};

/// Which models a batch runs through.
struct RunChoice {
  bool exact = true;
  bool simulated = false;
};

/// Runs of many batches, whose outputs are handed on in the order of the batches, on the caller's thread. Small batches
/// of small models run beside each other, one thread each. Made by Session::start_runs; the session must outlive it,
/// keep its encodings and run nothing else.
class BatchRuns {
 public:
  /// The outputs are good until it returns.
  using Receiver = std::function<void(const Batch& batch, const BatchOutputs& outputs)>;

  ~BatchRuns();
  BatchRuns(BatchRuns&&) noexcept;
  BatchRuns& operator=(BatchRuns&&) noexcept;

  /// It may still run when this returns: what is wrong with it is thrown by a later add() or by finish(). Its inputs
  /// must not be written over before its outputs are handed on.
  void add(Batch batch);
  /// Until the outputs of all batches are handed on.
  void finish();

 private:
  friend class Session;
  struct Implementation;
  explicit BatchRuns(std::unique_ptr<Implementation> implementation);
  std::unique_ptr<Implementation> implementation_;
};

/// A model on a device. One thread at a time may call it, several sessions may run beside each other. What run() and
/// simulate() return may share memory with the inputs and with constants of the model: copy before writing there.
class Session {
 public:
  /// Loads and checks the model. Throws one Error(unsupported) that lists everything the device cannot run, or one
  /// Error(model) that lists the nodes that cannot be right.
  explicit Session(const std::filesystem::path& model, const SessionOptions& options = {});
  /// The same on a backend made elsewhere (tare/cuda.hpp); `device` of the options is not looked at.
  Session(const std::filesystem::path& model, std::unique_ptr<Backend> backend, const SessionOptions& options = {});
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  const Model& model() const;
  const Graph& graph() const;
  /// Encodings of the quantizers that the model held (see SessionOptions::take_quantizers).
  const EncodingSet& held_encodings() const;
  /// Quantizers that the model held and still holds, as operators, and why: one line each (UnquantizedModel::kept).
  const std::vector<std::string>& kept_quantizers() const;
  Backend& backend();
  /// Operators that run elsewhere because the device has no kernel for them: "TopK (on cpu): name, name".
  std::vector<std::string> fallbacks() const;

  /// Makes the float model ready, as the first run() does: before data is opened, so that a model that cannot run says
  /// so first. Throws one Error(model) that lists every node that cannot be made ready.
  void prepare();
  /// The float model. inputs in the order of graph.inputs, outputs in the order of graph.outputs; host tensors.
  std::vector<Tensor> run(std::span<const Tensor> inputs);

  CalibrationResult calibrate(Dataset& data, const CalibrationOptions& options);
  /// Without data: for weights alone, or when the encodings of all activations are given. Throws Error(data) naming a
  /// tensor that needs data.
  CalibrationResult calibrate(const CalibrationOptions& options);
  Calibration start_calibration(const CalibrationOptions& options);
  /// Encodings from statistics saved earlier: no data, milliseconds. Throws Error(usage) when they do not fit the
  /// options, with the name of the file where one is given.
  CalibrationResult calibrate_from(const StatisticsFile& statistics, const CalibrationOptions& options,
                                   std::string_view file = {});

  /// From now on simulate() quantizes with these. Throws Error(model) naming encodings of tensors that the model does
  /// not have.
  void set_encodings(const EncodingSet& encodings);
  std::vector<Tensor> simulate(std::span<const Tensor> inputs);

  /// For data of many batches: as fast as run() and simulate(), or faster.
  BatchRuns start_runs(RunChoice models, BatchRuns::Receiver receiver);

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// One calibration on the devices of several sessions of one model, each in a thread of its own on the batches that it
/// has time for. The statistics add up to those of one device, to the byte where the devices compute the same bits.
/// Throws Error(usage) for what depends on the order of the batches: tf_enhanced, refine.
CalibrationResult calibrate_together(std::span<Session> sessions, Dataset& data, const CalibrationOptions& options);

}  // namespace tare
