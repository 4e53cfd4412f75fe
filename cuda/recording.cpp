#include "recording.hpp"

#include <cstring>

namespace tare::cuda {
namespace {

Tensor copy_of(const Tensor& tensor) {
  if (!tensor.present() || is_on_device(tensor)) return tensor;
  Tensor copy = Tensor::host(tensor.type(), tensor.shape(), tensor.layout());
  if (tensor.bytes() > 0) std::memcpy(copy.mutable_data(), tensor.data(), tensor.bytes());
  return copy;
}

/// A stream under capture, and memory that is recorded; neither any more when it goes.
class Capture {
 public:
  Capture(Memory& memory, RecordedMemory& recorded) : memory_(memory) {
    memory_.record(recorded);
    const cudaError_t status = cudaStreamBeginCapture(memory_.stream().get(), cudaStreamCaptureModeRelaxed);
    if (status == cudaSuccess) return;
    memory_.stop_recording();
    fail(status, "cudaStreamBeginCapture", __FILE__, __LINE__);
  }
  ~Capture() {
    if (graph_ != nullptr) static_cast<void>(cudaGraphDestroy(graph_));
    if (ended_) return;
    static_cast<void>(cudaStreamEndCapture(memory_.stream().get(), &graph_));
    if (graph_ != nullptr) static_cast<void>(cudaGraphDestroy(graph_));
    static_cast<void>(cudaGetLastError());
    try {
      memory_.stop_recording();
    } catch (const Error&) {  // the device is lost: the next call says so
    }
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  cudaGraph_t end() {
    ended_ = true;
    const cudaError_t status = cudaStreamEndCapture(memory_.stream().get(), &graph_);
    memory_.stop_recording();
    if (status != cudaSuccess) fail(status, "cudaStreamEndCapture", __FILE__, __LINE__);
    return graph_;
  }

 private:
  Memory& memory_;
  cudaGraph_t graph_ = nullptr;
  bool ended_ = false;
};

}  // namespace

Recording::Recording(Device& device, std::span<const Tensor> inputs,
                     const std::function<std::vector<Tensor>(std::vector<Tensor>)>& run)
    : device_(device), memory_(device.memory()) {
  for (const Tensor& input : inputs)
    inputs_.push_back(is_quantizable(input.type()) ? device_.allocate(input.type(), input.shape()) : copy_of(input));
  capture(run);
}

void Recording::capture(const std::function<std::vector<Tensor>(std::vector<Tensor>)>& run) {
  Capture capture(*device_.memory(), memory_);
  outputs_ = run(inputs_);
  for (const Tensor& output : outputs_)
    if (holds_objects(output.type())) throw Error(ErrorKind::internal, "a result is a sequence or holds strings");
  TARE_CUDA_CHECK(cudaGraphInstantiateWithFlags(&graph_, capture.end(), 0));
}

Recording::~Recording() {
  static_cast<void>(cudaStreamSynchronize(device_.stream().get()));
  if (graph_ != nullptr) static_cast<void>(cudaGraphExecDestroy(graph_));
}

void Recording::launch(std::span<const Tensor> inputs) {
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (is_quantizable(inputs[i].type())) device_.overwrite(inputs_[i], inputs[i]);
  TARE_CUDA_CHECK(cudaGraphLaunch(graph_, device_.stream().get()));
}

std::vector<Tensor> Recording::outputs() const {
  std::vector<Tensor> result;
  for (const Tensor& output : outputs_) result.push_back(copy_of(output));
  return result;
}

}  // namespace tare::cuda
