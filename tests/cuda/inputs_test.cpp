// Sessions whose inputs lie in device memory that is not theirs.
#include <limits>

#include "cuda/device.hpp"
#include "support/golden.hpp"
#include "tare/error.hpp"
#include "tare/session.hpp"

namespace tare {
namespace {

/// Inputs of a session in memory of the test's own.
class CudaInputs : public test::CudaTest {
 protected:
  Session session() {
    cuda::CudaOptions options;
    options.choices = choices_;  // all compute convolutions alike
    return Session(golden_.model(), cuda::make_cuda_backend(options));
  }
  std::vector<Batch> batches_of(const Graph& graph) const {
    DataOptions options;
    options.samples = 3;
    options.batch_size = 1;
    const auto data = open_dataset(golden_.data("inputs.npz"), graph, options);
    std::vector<Batch> batches;
    while (std::optional<Batch> batch = data->next()) batches.push_back(std::move(*batch));
    return batches;
  }
  static std::vector<Tensor> there(const std::vector<Tensor>& inputs) {
    std::vector<Tensor> there;
    for (const Tensor& input : inputs) {
      const auto bytes = std::make_shared<test::DeviceBytes>(input.data(), input.bytes());
      there.push_back(cuda::device_tensor(input.type(), input.shape(), bytes->data(), bytes));
    }
    return there;
  }
  static void expect_same(const std::vector<Tensor>& have, const std::vector<Tensor>& want) {
    ASSERT_EQ(have.size(), want.size());
    for (std::size_t o = 0; o < want.size(); ++o) {
      ASSERT_EQ(have[o].bytes(), want[o].bytes());
      EXPECT_EQ(std::memcmp(have[o].data(), want[o].data(), want[o].bytes()), 0) << "output " << o;
    }
  }
  template <class Work>
  static std::string error_of(ErrorKind kind, const Work& work) {
    try {
      work();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "no error";
    return {};
  }

  const test::GoldenModel& golden_ = test::golden_models[1];
  std::shared_ptr<cuda::ConvolutionChoices> choices_ = cuda::make_convolution_choices();
};

TEST_F(CudaInputs, InDeviceMemoryGiveTheSame) {
  Session host = session();
  Session device = session();
  CalibrationOptions options;
  options.search.scheme = Scheme::min_max;
  options.keep_histograms = true;
  Calibration of_host = host.start_calibration(options);
  Calibration of_device = device.start_calibration(options);
  const std::vector<Batch> batches = batches_of(host.graph());  // node by node, recorded, replayed
  for (const Batch& batch : batches) {
    of_host.add(batch.inputs);
    const std::vector<Tensor> inputs = there(batch.inputs);
    cuda::wait_for_stream(device.backend(), nullptr);
    of_device.add(inputs);
    cuda::wait_for_backend(nullptr, device.backend());
  }
  const CalibrationResult want = of_host.finish();
  EXPECT_EQ(of_device.finish().statistics.tensors, want.statistics.tensors);
  host.set_encodings(want.encodings);
  device.set_encodings(want.encodings);
  for (const Batch& batch : batches) {
    const std::vector<Tensor> inputs = there(batch.inputs);
    expect_same(device.run(inputs), host.run(batch.inputs));
    expect_same(device.simulate(inputs), host.simulate(batch.inputs));
    expect_same({device.backend().download(inputs[0])}, {batch.inputs[0]});  // nobody wrote there
  }
}

TEST_F(CudaInputs, HoldTheirOwnerAsLongAsTheyAreNeeded) {
  const std::vector<float> values{1.0f, 2.0f};
  const auto bytes = std::make_shared<test::DeviceBytes>(values.data(), 8);
  {
    const Tensor tensor = cuda::device_tensor(DataType::float32, {2}, bytes->data(), bytes);
    const Tensor again = tensor;
    EXPECT_EQ(bytes.use_count(), 2);
  }
  EXPECT_EQ(bytes.use_count(), 1);
}

TEST_F(CudaInputs, WithNanNameTheTensor) {
  Session device = session();
  Batch batch = batches_of(device.graph()).at(0);
  batch.inputs[0].mutable_data<float>()[3] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<Tensor> inputs = there(batch.inputs);
  const std::string message = error_of(ErrorKind::data, [&] {
    Calibration calibration = device.start_calibration({});
    calibration.add(inputs);
    calibration.finish();
  });
  EXPECT_NE(message.find(device.graph().value(device.graph().inputs[0]).name), std::string::npos) << message;
}

TEST_F(CudaInputs, ThatCannotBeOnesAreRefused) {
  const std::vector<float> values(8);
  const test::DeviceBytes bytes(values.data(), 32);
  const auto message = [&](DataType type, const void* elements) {
    return error_of(ErrorKind::usage, [&] { cuda::device_tensor(type, {4}, elements); });
  };
  EXPECT_NE(message(DataType::int64, bytes.data()).find("int64"), std::string::npos);
  EXPECT_NE(message(DataType::float32, values.data()).find("no device memory"), std::string::npos);
  EXPECT_NE(message(DataType::float32, static_cast<char*>(bytes.data()) + 4).find("16 bytes"), std::string::npos);
  EXPECT_EQ(cuda::device_tensor(DataType::float32, {0, 3}, nullptr).elements(), 0);
  const auto cpu = make_cpu_backend();
  error_of(ErrorKind::usage, [&] { cuda::wait_for_stream(*cpu, nullptr); });
}

}  // namespace
}  // namespace tare
