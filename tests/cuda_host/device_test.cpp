// Memory, uploads and the current device, as CUDA's runtime meets them: what only its stand-in can tell.
#include <gtest/gtest.h>

#include <cstring>
#include <optional>
#include <thread>

#include "cuda_host/ledger.hpp"
#include "cuda_host/one_node.hpp"
#include "cuda_host/page_locked.hpp"
#include "cuda_host/stand_in.hpp"
#include "device.hpp"
#include "result_memory.hpp"
#include "staging.hpp"
#include "tare/calibration.hpp"

namespace tare {
namespace {

using test::floats;
using test::stand_in;

class CudaDevice : public testing::Test {
 protected:
  void SetUp() override { stand_in() = {.graphs = stand_in().graphs}; }
  void TearDown() override { stand_in() = {.graphs = stand_in().graphs}; }
};

Graph square_root() {
  Graph graph;
  graph.inputs = {graph.add_value({"x", DataType::float32, std::nullopt})};
  Node node;
  node.name = "root";
  node.op_type = "Sqrt";
  node.opset = 17;
  node.inputs = graph.inputs;
  node.outputs = {graph.add_value({"y", DataType::undefined, std::nullopt})};
  graph.outputs = node.outputs;
  graph.nodes.push_back(node);
  return graph;
}

/// All elements are `value`, in page-locked memory.
Tensor page_locked(std::int64_t elements, float value) {
  void* memory = nullptr;
  TARE_CUDA_CHECK(cudaHostAlloc(&memory, static_cast<std::size_t>(elements) * sizeof(float), cudaHostAllocDefault));
  Tensor tensor(DataType::float32, {elements}, std::shared_ptr<void>(memory, cudaFreeHost));
  for (float& x : tensor.mutable_span<float>()) x = value;
  return tensor;
}

/// Observes results: an executor that brings none back waits for nothing.
class Observing final : public ValueHook {
 public:
  explicit Observing(Observer& observer) : observer_(observer) {}
  Tensor on_value(std::size_t, Tensor value) override {
    observer_.observe(0, value);
    return value;
  }
  const void* repeats() const override { return this; }
  void flush() override { observer_.flush(); }

 private:
  Observer& observer_;
};

bool is_page_locked(const Tensor& tensor) { return test::PageLocked::instance().holds(tensor.data(), tensor.bytes()); }

TEST_F(CudaDevice, LargeResultsLieInPageLockedMemoryThatServesAgain) {
  std::optional<cuda::Device> device(std::in_place, cuda::CudaOptions{});
  const auto result = [&](std::int64_t elements) { return device->download(device->upload(floats({elements}, 3))); };
  constexpr std::int64_t large = 100'000;
  Tensor first = result(large);
  EXPECT_TRUE(is_page_locked(first));
  EXPECT_FALSE(is_page_locked(result(1000)));
  const Tensor second = result(large);
  EXPECT_NE(second.data(), first.data()) << "somebody holds the first";
  const std::byte* place = first.data();
  first = Tensor();
  const Tensor third = result(large - 10'000);
  EXPECT_EQ(third.data(), place) << "a little less";
  EXPECT_NE(result(large / 3).data(), place);

  device->release_unused();
  device.reset();
  EXPECT_TRUE(is_page_locked(third)) << "the tensor outlives the device";
  const Tensor expected = floats({large - 10'000}, 3);
  EXPECT_EQ(std::memcmp(third.data(), expected.data(), expected.bytes()), 0);
}

TEST_F(CudaDevice, ResultsTakeOtherMemoryWhereNoneCanBePageLocked) {
  const auto results = std::make_shared<cuda::ResultMemory>();
  constexpr std::size_t half = cuda::ResultMemory::most_bytes / 2;
  std::shared_ptr<void> first = cuda::ResultMemory::take(results, half);
  const std::shared_ptr<void> second = cuda::ResultMemory::take(results, half);
  ASSERT_NE(first, nullptr);
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(cuda::ResultMemory::take(results, half), nullptr) << "that would be too much";
  first.reset();
  const std::shared_ptr<void> third = cuda::ResultMemory::take(results, half / 4);
  EXPECT_NE(third, nullptr) << "what nobody has makes room";
  EXPECT_EQ(cuda::ResultMemory::take(results, half), nullptr);
}

/// A copy from page-locked memory reads when its turn comes; the stand-in ends the program when the bytes are others.
TEST_F(CudaDevice, TheCallerMayWriteItsInputsWhenTheCallReturns) {
  test::Ledger ledger;
  const Graph graph = square_root();
  for (const bool own_memory : {true, false})
    for (const std::int64_t elements : {100, 100'000, 2'500'000}) {
      const auto backend = cuda::make_cuda_backend(own_memory ? cuda::CudaOptions{} : test::options_of(ledger));
      const auto observer = backend->make_observer(ObserverKind::histogram, 1);
      Observing hook(*observer);
      Executor executor(graph, *backend, {-1, 0});
      Tensor input = page_locked(elements, 0);
      for (float run = 0; run < 4; ++run) {  // node by node, recorded, replayed
        for (float& x : input.mutable_span<float>()) x = run * run;
        executor.run_for(std::array{input}, hook);
        input.mutable_data<float>()[elements - 1] = -1;
        const TensorStatistics seen = observer->collect().at(0);
        EXPECT_EQ(seen.max, run);
        EXPECT_EQ(seen.nan_count, 0u);
      }
      EXPECT_EQ(cuda::graph_use(*backend).launched, 3u);
    }
}

TEST_F(CudaDevice, StagesWhatIsLargerThanItsPieces) {
  std::vector<std::uint8_t> bytes(10'000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i * 31 >> 3);
  const cuda::StreamView stream(nullptr);
  cuda::DeviceBuffer<std::uint8_t> there(bytes.size(), stream);
  cuda::Staging staging(stream, 1000);
  for (const std::size_t part : {1u, 999u, 1000u, 1u, 3000u, 777u, 4222u}) {
    static std::size_t begin = 0;
    staging.copy(there.data() + begin, bytes.data() + begin, part);
    begin += part;
  }
  std::vector<std::uint8_t> back(bytes.size());
  there.download(back, stream);
  stream.synchronize();
  EXPECT_EQ(back, bytes);
}

TEST_F(CudaDevice, WaitsForMemoryBeforeRecordingsAreGivenUp) {
  const auto backend = cuda::make_cuda_backend();
  const Graph graph = square_root();
  Executor executor(graph, *backend);
  for (unsigned run = 0; run < 3; ++run) executor.run(std::array{floats({50}, run)});
  const std::size_t graphs = stand_in().graphs;
  stand_in().logs = true;
  stand_in().takes_to_fail = 1;
  backend->upload(floats({60}, 1));
  EXPECT_EQ(stand_in().log, "xsst");  // the kernels' stream, and the one beside it
  EXPECT_EQ(stand_in().graphs, graphs);

  stand_in().log.clear();
  stand_in().takes_to_fail = 2;
  backend->upload(floats({60}, 1));
  EXPECT_EQ(stand_in().graphs, graphs - 1);
  const std::string& log = stand_in().log;
  EXPECT_EQ(log.find("xsstx"), 0u) << log;
  EXPECT_LT(log.find('g'), log.rfind("sst")) << log;

  stand_in().log.clear();
  stand_in().takes_to_fail = 2;  // nothing is left to give up
  EXPECT_THROW(backend->upload(floats({60}, 1)), Error);
  EXPECT_EQ(stand_in().log, "xsstx");
}

TEST_F(CudaDevice, HandsBackWhatItKeepsWhenItIsTrimmed) {
  const auto backend = cuda::make_cuda_backend();
  static_cast<void>(backend->upload(floats({60}, 1)));
  stand_in().logs = true;
  backend->trim();
  EXPECT_EQ(stand_in().log, "st");  // what was given back may still be read
}

/// A block may serve less than it was taken with; allocators look for what is given back by its size.
TEST_F(CudaDevice, BlocksGoBackAsTheyWereTaken) {
  test::Ledger ledger;  // it looks at the sizes
  cuda::Device device(test::options_of(ledger));
  cuda::Memory& memory = *device.memory();
  for (const bool outlives : {true, false}) {
    Tensor kept;
    {
      cuda::RecordedMemory recording(device.memory());
      memory.record(recording);
      device.allocate(DataType::float32, {1000});
      kept = device.allocate(DataType::float32, {300});
      memory.stop_recording();
      if (!outlives) kept = {};
    }
    EXPECT_EQ(ledger.taken.size(), outlives ? 1u : 0u);
    kept = {};
    EXPECT_TRUE(ledger.taken.empty());
  }
}

/// For ThreadSanitizer (`make races`); without it, for the books of the allocator.
TEST_F(CudaDevice, OtherThreadsMayLetTensorsGoWhileOneRecords) {
  test::Ledger ledger;
  {
    cuda::Device device(test::options_of(ledger));
    cuda::Memory& memory = *device.memory();
    for (int round = 0; round < 20; ++round) {
      std::vector<Tensor> before(20);
      for (Tensor& tensor : before) tensor = device.allocate(DataType::float32, {10});
      cuda::RecordedMemory recording(device.memory());
      std::thread other([&] { before.clear(); });
      memory.record(recording);
      std::vector<Tensor> recorded(20);
      for (Tensor& tensor : recorded) tensor = device.allocate(DataType::float32, {20});
      std::thread another([&] { recorded.clear(); });
      for (int i = 0; i < 20; ++i) device.allocate(DataType::float32, {20});
      memory.stop_recording();
      other.join();
      another.join();
    }
  }
  EXPECT_TRUE(ledger.taken.empty());
}

/// Of a run that fails, nothing is kept that would be missing for the next one.
TEST_F(CudaDevice, ARunThatFailsLetsItsValuesGo) {
  Graph graph = square_root();  // then x is read once more
  Node add = graph.nodes.back();
  add.name = add.op_type = "Add";
  add.inputs = {graph.outputs.at(0), graph.inputs.at(0)};
  add.outputs = graph.outputs = {graph.add_value({"z", DataType::undefined, std::nullopt})};
  graph.nodes.push_back(add);
  for (const bool on_host : {true, false}) {
    test::Ledger ledger;
    const auto backend = on_host ? make_cpu_backend({.threads = 1}) : cuda::make_cuda_backend(test::options_of(ledger));
    Executor executor(graph, *backend);
    bool fails = true;
    executor.watch([&](std::size_t, std::span<const Tensor>) {
      if (fails) throw Error(ErrorKind::data, "enough");
    });
    const Tensor input = floats({40}, 1);
    EXPECT_THROW(executor.run(std::array{input}), Error);
    EXPECT_TRUE(input.unique());
    EXPECT_TRUE(ledger.taken.empty());
    fails = false;
    EXPECT_EQ(executor.run(std::array{input}).at(0).elements(), 40);
  }
}

TEST_F(CudaDevice, TakesNothingFromThePoolThatTheProgramHas) {
  const TensorStatistics statistics = observe_values(floats({500}, 1).span<float>());
  const std::vector<SearchRequest> requests = {{&statistics, {}}};
  static_cast<void>(cuda::find_encodings(requests));
  const cuda::Statistics sites(2);
  EXPECT_EQ(stand_in().takes.count(nullptr), 0u);
  EXPECT_EQ(stand_in().takes.size(), 1u);

  stand_in().takes.clear();
  const auto backend = cuda::make_cuda_backend();
  static_cast<void>(backend->upload(floats({100'000}, 1)));
  const auto observer = backend->make_observer(ObserverKind::histogram, 3);
  static_cast<void>(backend->find_encodings(requests, {}, 1));
  EXPECT_EQ(stand_in().takes.count(nullptr), 0u);
  EXPECT_EQ(stand_in().takes.size(), 1u) << "the backend has memory beside its pool";
}

TEST_F(CudaDevice, IsMadeCurrentOnlyWhileItIsNotAndForItsHandles) {
  const Graph graph = square_root();
  for (const int before : {1, 0}) {
    stand_in() = {.graphs = stand_in().graphs};
    stand_in().devices = 2;
    stand_in().device = before;
    cuda::CudaOptions options;
    options.device = 1;
    Tensor kept;
    {
      const auto backend = cuda::make_cuda_backend(options);
      const auto observer = backend->make_observer(ObserverKind::histogram, 1);
      Executor executor(graph, *backend);
      for (unsigned run = 0; run < 3; ++run) executor.run(std::array{floats({100'000}, run)});
      kept = backend->upload(floats({7}, 1));
      observer->observe(0, kept);
      EXPECT_EQ(observer->collect().at(0).count, 7u);
    }
    kept = {};
    EXPECT_EQ(stand_in().strays, 0u) << before;
    EXPECT_EQ(stand_in().device, before);
    EXPECT_EQ(stand_in().device_changes > 0, before != 1);
  }
}

}  // namespace
}  // namespace tare
