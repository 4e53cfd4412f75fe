#include "run/batch_runs.hpp"

#include <chrono>
#include <utility>

#include "run/quantize_hook.hpp"

namespace tare {

namespace {

std::vector<Tensor> timed(double& seconds, Executor& executor, const Batch& batch, ValueHook* hook) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<Tensor> outputs = executor.run(batch.inputs, hook);
  seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return outputs;
}

}  // namespace

BatchRuns::Implementation::Implementation(RunModels models, Backend& backend, int threads, Receiver receiver)
    : models_(models),
      backend_(backend),
      threads_(threads),
      receiver_(std::move(receiver)),
      takes_lanes_(threads > 1 && (models_.exact == nullptr || fits_lanes(models_.exact->graph())) &&
                   (models_.simulated == nullptr || fits_lanes(models_.simulated->graph()))) {}

void BatchRuns::Implementation::add(Batch batch) {
  if (takes_lanes_ && fits_lane(batch) && (lane_threads_ || make_lanes())) {
    waiting_.push_back(std::make_shared<Waiting>());
    waiting_.back()->batch = std::move(batch);
    lane_threads_->give([this, given = waiting_.back()](std::size_t lane) {
      given->outputs = run_on(lanes_[lane], given->batch);
      given->done = true;
    });
    deliver();
    return;
  }
  finish();
  receiver_(batch, run(backend_, models_.exact, models_.simulated, batch));
}

void BatchRuns::Implementation::finish() {
  if (lane_threads_) lane_threads_->wait();
  deliver();
}

void BatchRuns::Implementation::deliver() {
  while (!waiting_.empty() && waiting_.front()->done) {
    const std::shared_ptr<Waiting> front = std::move(waiting_.front());
    waiting_.pop_front();
    receiver_(front->batch, front->outputs);
  }
}

bool BatchRuns::Implementation::make_lanes() {
  for (std::unique_ptr<Backend>& own : lane_backends(backend_, threads_)) lanes_.push_back({std::move(own), {}, {}});
  takes_lanes_ = !lanes_.empty();
  if (takes_lanes_) lane_threads_.emplace(lanes_.size());
  return takes_lanes_;
}

BatchOutputs BatchRuns::Implementation::run_on(Lane& lane, const Batch& batch) const {
  const bool exact = models_.exact != nullptr;
  const bool simulated = models_.simulated != nullptr;
  if (exact && !lane.exact)
    lane.exact.emplace(models_.exact->graph(), *lane.backend, std::vector<std::int32_t>(), models_.stop);
  if (simulated && !lane.simulated)
    lane.simulated.emplace(models_.simulated->graph(), *lane.backend, *models_.site_of_value, models_.stop);
  return run(*lane.backend, exact ? &*lane.exact : nullptr, simulated ? &*lane.simulated : nullptr, batch);
}

BatchOutputs BatchRuns::Implementation::run(Backend& on, Executor* exact, Executor* simulated,
                                            const Batch& batch) const {
  BatchOutputs outputs;
  if (exact != nullptr) outputs.exact = timed(outputs.exact_seconds, *exact, batch, nullptr);
  if (simulated == nullptr) return outputs;
  QuantizeHook hook(on, *models_.sites, models_.rounding);
  outputs.simulated = timed(outputs.simulated_seconds, *simulated, batch, &hook);
  return outputs;
}

BatchRuns::BatchRuns(std::unique_ptr<Implementation> implementation) : implementation_(std::move(implementation)) {}
BatchRuns::~BatchRuns() = default;
BatchRuns::BatchRuns(BatchRuns&&) noexcept = default;
BatchRuns& BatchRuns::operator=(BatchRuns&&) noexcept = default;
void BatchRuns::add(Batch batch) { implementation_->add(std::move(batch)); }
void BatchRuns::finish() { implementation_->finish(); }

}  // namespace tare
