// tare as one of the tools that bench/peers.py has take turns: stays alive, does what a line of standard input says,
// and answers with milliseconds (see bench/peer_worker.py, which speaks the same for the peers). The batches of the
// data repeat as often as a command needs.
//   plain                      a batch, mean of one pass over the data
//   simulate                   the same, with encodings of min_max
//   calibrate SCHEME BATCHES   all of it, from quantizer placement to encodings
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <iostream>
#include <sstream>

#include "cli/waits.hpp"
#include "tare/overrides.hpp"
#include "tare/session.hpp"

namespace tare::bench {
namespace {

using Clock = std::chrono::steady_clock;

class Worker {
 public:
  Worker(const std::string& model, const std::string& data, const SessionOptions& options) : session_(model, options) {
    const auto dataset = open_dataset(data, session_.graph());
    while (auto batch = dataset->next()) batches_.push_back(std::move(*batch));
  }

  double answer(const std::string& line) {
    std::istringstream words(line);
    std::string command;
    std::string scheme;
    std::size_t count = 0;
    words >> command >> scheme >> count;
    if (command == "plain") return a_batch([&](const Batch& batch) { session_.run(batch.inputs); });
    if (command == "simulate") {
      if (!simulates_) session_.set_encodings(calibrate(Scheme::min_max, batches_.size()).encodings);
      simulates_ = true;
      return a_batch([&](const Batch& batch) { session_.simulate(batch.inputs); });
    }
    const std::optional<Scheme> known = scheme_of(scheme);
    if (command != "calibrate" || !known || count == 0)
      throw Error(ErrorKind::usage, fmt::format("'{}' is no command", line));
    const auto start = Clock::now();
    calibrate(*known, count);
    return milliseconds_since(start);
  }

 private:
  static double milliseconds_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  }

  template <class Body>
  double a_batch(Body&& body) {
    const auto start = Clock::now();
    for (const Batch& batch : batches_) body(batch);
    return milliseconds_since(start) / static_cast<double>(batches_.size());
  }

  CalibrationResult calibrate(Scheme scheme, std::size_t count) {
    CalibrationOptions options;
    options.search.scheme = scheme;
    Calibration calibration = session_.start_calibration(options);
    for (std::size_t i = 0; i < count; ++i) {
      const Batch& batch = batches_[i % batches_.size()];
      calibration.add(batch.inputs, batch.samples);
    }
    return calibration.finish();
  }

  Session session_;
  std::vector<Batch> batches_;
  bool simulates_ = false;
};

int run(int argc, char** argv) {
  std::string model;
  std::string data;
  SessionOptions options;
  CLI::App app("tare for bench/peers.py");
  app.add_option("model", model)->required();
  app.add_option("data", data)->required();
  app.add_option("--threads", options.cpu.threads);
  CLI11_PARSE(app, argc, argv);
  Worker worker(model, data, options);
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);) std::cout << worker.answer(line) << std::endl;
  return 0;
}

}  // namespace
}  // namespace tare::bench

int main(int argc, char** argv) {
  tare::cli::wait_briefly(argv);
  try {
    return tare::bench::run(argc, argv);
  } catch (const std::exception& error) {
    std::cout << "error " << error.what() << std::endl;
    return 1;
  }
}
