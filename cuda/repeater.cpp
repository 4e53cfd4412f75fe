// Which runs are alike, and what becomes of them. Runs are alike when their mark, the types and shapes of their inputs
// and the values of those inputs that stay on the host are the same: integers steer the host's index arithmetic, whose
// results a recording holds. Odd: an error while a run is recorded is never the user's; the run is done node by node
// then, and an error of the model comes out of that.
#include "repeater.hpp"

#include <algorithm>
#include <cstring>
#include <list>
#include <optional>
#include <string>

#include "recording.hpp"

namespace tare::cuda {
namespace {

constexpr std::size_t most_kinds = 8;                         ///< remembered; the one that was used longest ago goes
constexpr std::size_t most_refusals = 3;                      ///< then nothing new is recorded: it lies with the model
constexpr std::size_t most_key_bytes = std::size_t{1} << 20;  ///< runs with more integers than that are not compared

/// All that a run depends on but the values of its floats. None: such runs are not compared.
std::optional<std::string> key_of(std::span<const Tensor> inputs, const void* mark) {
  std::string key;
  const auto append = [&](const void* bytes, std::size_t count) { key.append(static_cast<const char*>(bytes), count); };
  append(&mark, sizeof mark);
  for (const Tensor& input : inputs) {
    if (!input.present() || holds_objects(input.type())) return std::nullopt;
    const DataType type = input.type();
    const std::uint64_t rank = input.rank();
    append(&type, sizeof type);
    append(&rank, sizeof rank);
    append(input.shape().data(), input.rank() * sizeof(std::int64_t));
    if (is_quantizable(type)) continue;
    if (is_on_device(input) || key.size() + input.bytes() > most_key_bytes) return std::nullopt;
    append(input.data(), input.bytes());
  }
  return key;
}

class GraphRepeater final : public Repeater, public Spare {
 public:
  GraphRepeater(Device& device, Backend& host, GraphUse& use)
      : device_(device), host_(host), use_(use), memory_(device.memory()) {
    memory_->add(*this);
  }
  ~GraphRepeater() override { memory_->remove(*this); }
  GraphRepeater(const GraphRepeater&) = delete;
  GraphRepeater& operator=(const GraphRepeater&) = delete;

  std::vector<Tensor> run(std::span<const Tensor> given, const void* mark, const Run& run) override {
    const CurrentDevice current(device_.index());
    std::vector<Tensor> inputs;
    for (const Tensor& tensor : given) inputs.push_back(is_on_device(tensor) ? tensor : host_.to_plain(tensor));
    const std::optional<std::string> key = given_up_ ? std::nullopt : key_of(inputs, mark);
    if (!key) return run_node_by_node(inputs, run);
    Kind* kind = find(*key);
    if (kind == nullptr) {
      std::vector<Tensor> outputs = run_node_by_node(inputs, run);
      if (!given_up_) remember(*key);  // after it: a run that fails says nothing of later ones
      return outputs;
    }
    if (kind->recording == nullptr) {
      if (kind->refused || refusals_ >= most_refusals || !record(*key, inputs, run))
        return run_node_by_node(inputs, run);
    }
    return replay(*key, inputs, run);
  }

  bool give_up() override {
    given_up_ = true;
    const bool some = std::any_of(kinds_.begin(), kinds_.end(), [](const Kind& kind) { return kind.recording; });
    kinds_.clear();
    return some;
  }

 private:
  struct Kind {
    std::string key;
    std::shared_ptr<Recording> recording;
    bool refused = false;
  };

  /// Floats go to the device, all else stays: CudaBackend::upload.
  std::vector<Tensor> run_node_by_node(std::span<const Tensor> inputs, const Run& run) {
    std::vector<Tensor> there;
    for (const Tensor& input : inputs)
      there.push_back(is_quantizable(input.type()) ? device_.upload_beside(input) : input);
    return run(std::move(there));
  }

  /// The kind, which now is the one used last; null when it is new.
  Kind* find(const std::string& key) {
    const auto kind = std::find_if(kinds_.begin(), kinds_.end(), [&](const Kind& k) { return k.key == key; });
    if (kind == kinds_.end()) return nullptr;
    kinds_.splice(kinds_.begin(), kinds_, kind);
    return &kinds_.front();
  }

  void remember(const std::string& key) {
    kinds_.push_front({key, nullptr, false});
    if (kinds_.size() > most_kinds) kinds_.pop_back();
  }

  /// Memory that runs out takes the kinds away: they are looked for again after all that takes some.
  bool record(const std::string& key, std::span<const Tensor> inputs, const Run& run) {
    try {
      auto recording = std::make_shared<Recording>(device_, inputs, run);
      Kind* kind = find(key);
      if (kind == nullptr) return false;
      kind->recording = std::move(recording);
      ++use_.recorded;
      return true;
    } catch (const std::exception& error) {
      refuse(key, error.what());
      return false;
    }
  }

  std::vector<Tensor> replay(const std::string& key, std::span<const Tensor> inputs, const Run& run) {
    const std::shared_ptr<Recording> recording = find(key)->recording;  // held: its own inputs may take the kinds away
    try {
      recording->launch(inputs);
    } catch (const std::exception& error) {
      refuse(key, error.what());
      return run_node_by_node(inputs, run);
    }
    ++use_.launched;
    return recording->outputs();
  }

  void refuse(const std::string& key, const char* why) {
    ++refusals_;
    ++use_.refused;
    use_.why_refused = why;
    Kind* kind = find(key);
    if (kind == nullptr) return;
    kind->recording.reset();
    kind->refused = true;
  }

  Device& device_;
  Backend& host_;
  GraphUse& use_;
  std::shared_ptr<Memory> memory_;
  std::list<Kind> kinds_;  ///< the one used last comes first
  std::size_t refusals_ = 0;
  bool given_up_ = false;
};

}  // namespace

std::unique_ptr<Repeater> make_repeater(Device& device, Backend& host, GraphUse& use) {
  return std::make_unique<GraphRepeater>(device, host, use);
}

}  // namespace tare::cuda
