#include "run/batch_runs.hpp"

#include <chrono>
#include <utility>

#include "run/quantize_hook.hpp"

namespace tare {

std::vector<Tensor> timed_run(double& seconds, const std::function<std::vector<Tensor>()>& run) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<Tensor> outputs = run();
  seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return outputs;
}

BatchRuns::Implementation::Implementation(RunModels models, Backend& backend, int threads, Run whole, Receiver receiver)
    : models_(models),
      backend_(backend),
      threads_(threads),
      whole_(std::move(whole)),
      receiver_(std::move(receiver)),
      takes_lanes_(threads > 1 && (models_.exact == nullptr || fits_lanes(*models_.exact)) &&
                   (models_.simulated == nullptr || fits_lanes(*models_.simulated))) {}

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
  receiver_(batch, whole_(batch));
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
  for (int lane = 0; lane < threads_ && takes_lanes_; ++lane) {
    std::unique_ptr<Backend> own = backend_.make_lane();
    takes_lanes_ = own != nullptr;
    lanes_.push_back({std::move(own), {}, {}});
  }
  if (takes_lanes_) lane_threads_.emplace(lanes_.size());
  return takes_lanes_;
}

BatchOutputs BatchRuns::Implementation::run_on(Lane& lane, const Batch& batch) const {
  BatchOutputs outputs;
  if (models_.exact != nullptr) {
    if (!lane.exact) lane.exact.emplace(*models_.exact, *lane.backend);
    outputs.exact = timed_run(outputs.exact_seconds, [&] { return lane.exact->run(batch.inputs); });
  }
  if (models_.simulated != nullptr) {
    if (!lane.simulated) lane.simulated.emplace(*models_.simulated, *lane.backend, *models_.site_of_value);
    QuantizeHook hook(*lane.backend, *models_.sites, models_.rounding);
    outputs.simulated = timed_run(outputs.simulated_seconds, [&] { return lane.simulated->run(batch.inputs, &hook); });
  }
  return outputs;
}

BatchRuns::BatchRuns(std::unique_ptr<Implementation> implementation) : implementation_(std::move(implementation)) {}
BatchRuns::~BatchRuns() = default;
BatchRuns::BatchRuns(BatchRuns&&) noexcept = default;
BatchRuns& BatchRuns::operator=(BatchRuns&&) noexcept = default;
void BatchRuns::add(Batch batch) { implementation_->add(std::move(batch)); }
void BatchRuns::finish() { implementation_->finish(); }

}  // namespace tare
