#include "runtime.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <stdexcept>

#include "support/paths.hpp"
#include "tare/dataset.hpp"

namespace tare::test {

NamedTensors run_in_onnxruntime(const onnx::ModelProto& model, const NamedTensors& inputs) {
  const std::filesystem::path packages = cache_folder() / "onnxruntime";
  if (!std::filesystem::exists(packages / "stamp"))
    throw std::runtime_error(packages.string() + " is missing: run tools/setup_onnxruntime.sh");
  const TemporaryFolder folder;
  write_model(model, folder / "model.onnx");
  NpzWriter writer(folder / "inputs.npz");
  for (const auto& [name, tensor] : inputs) writer.add(name, tensor);
  writer.commit();
  const std::string command =
      fmt::format("PYTHONPATH='{}' python3 '{}' '{}' '{}' '{}' 2> '{}'", packages.string(),
                  std::string(TARE_SOURCE_DIR) + "/tests/onnxruntime/run.py", (folder / "model.onnx").string(),
                  (folder / "inputs.npz").string(), (folder / "outputs.npz").string(), (folder / "errors").string());
  if (std::system(command.c_str()) != 0) throw std::runtime_error("ONNX Runtime: " + read_bytes(folder / "errors"));
  const NpzFile file(folder / "outputs.npz");
  NamedTensors result;
  for (int i = 0; i < model.graph().output_size(); ++i)
    result[model.graph().output(i).name()] = file.read(std::to_string(i));
  return result;
}

}  // namespace tare::test
