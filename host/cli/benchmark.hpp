// Plain inference, observing (a calibration without placement and search) and simulating of one model, timed. The three
// take turns in one process, a pass over all batches each, so that a noisy machine disturbs all of them alike. Plain
// and simulated batches run one after the other; observed ones as a calibration runs them, several at a time where it
// does.
#pragma once

#include <memory>
#include <span>

#include "tare/session.hpp"

namespace tare::cli {

/// Milliseconds a batch, in the mean over the batches: the median and the fastest of the repetitions.
struct BatchTime {
  double median_ms = 0;
  double best_ms = 0;
};

/// What the observers of a backend were given, and how long they took while the clock ran.
class ObserverClock {
 public:
  /// The same backend; observers that it makes while the clock runs report here. Waiting for the device around every
  /// tensor disturbs a run, so that it is done on demand alone.
  std::unique_ptr<Backend> wrap(std::unique_ptr<Backend> backend);
  void start();
  void stop() { running = false; }

  bool running = false;
  std::uint64_t elements = 0;
  std::uint64_t bytes = 0;
  double seconds = 0;
};

struct BenchmarkOptions {
  CalibrationOptions calibration;  ///< `progress` is told of samples, all repetitions together
  int repetitions = 7;
  double seconds = 1e9;  ///< fewer repetitions, but one, when they have taken this long
};

struct BenchmarkResult {
  BatchTime plain;
  BatchTime observe;
  BatchTime simulate;
  double observing_ms = 0;  ///< a batch: median of what a repetition took longer to observe than without
  double search_ms = 0;     ///< from the statistics of all batches to encodings
  std::size_t quantizers = 0;
  std::size_t samples = 0;
  double observed_elements = 0;  ///< a batch
  double observer_ms = 0;        ///< a batch, of the observers alone
  double observer_gbs = 0;       ///< bytes they read in that time, in 1e9 a second; 0 when they read none
};

/// `clock` belongs to the session's backend. Throws Error(data) when there are no batches.
BenchmarkResult run_benchmark(Session& session, ObserverClock& clock, std::span<const Batch> batches,
                              const BenchmarkOptions& options);

}  // namespace tare::cli
