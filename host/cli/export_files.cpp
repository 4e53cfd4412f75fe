// The encodings file, the clean model, the QDQ model and what other tools read.
#include "cli/export_files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "tare/export.hpp"

namespace tare::cli {
namespace {

void write_text(const std::filesystem::path& file, const std::string& text) {
  std::ofstream stream(file, std::ios::binary);
  if (!(stream << text).flush())
    throw Error(ErrorKind::io, fmt::format("cannot write '{}': check the space that is left", file.string()));
}

ActivationCodes activation_codes(const std::string& text) {
  if (text == "signed") return ActivationCodes::as_signed;
  return text == "as-is" ? ActivationCodes::as_is : ActivationCodes::as_unsigned;
}

bool is_bias(const TensorEncodings& tensor) { return tensor.spec.bitwidth == 32; }

/// `found` with the 32-bit biases of `derived`.
EncodingSet with_biases(EncodingSet found, const EncodingSet& derived) {
  std::copy_if(derived.tensors.begin(), derived.tensors.end(), std::back_inserter(found.tensors), is_bias);
  return found;
}

}  // namespace

void export_files(const ExportFlags& flags, const Session& session, const CalibrationOptions& options,
                  const CalibrationResult& result, const std::string& prefix, const OutputSet& files) {
  const EncodingVersion version = parse_encoding_version(flags.encoding_version);
  ExportInfo info;
  info.scheme = options.search.scheme;
  info.activation_bitwidth = options.types.activation.bitwidth;
  info.parameter_bitwidth = options.types.parameter.bitwidth;
  info.graph = &session.graph();
  info.activations = activation_codes(flags.activations_as);
  const EncodingSet& found = result.encodings;
  EncodingSet derived = found;
  add_derived_encodings(derived, session.graph(), result.sites);
  const bool lists_derived = version == EncodingVersion::v2_0_0;
  EncodingSet listed = lists_derived ? derived : with_biases(found, derived);
  if (!flags.int32_bias.value_or(lists_derived)) std::erase_if(listed.tensors, is_bias);
  save_encodings(listed, version, files.place(prefix + ".encodings"), info);
  save_model(session.model(), files.place(prefix + ".onnx"));
  if (flags.qdq) {
    QdqOptions qdq;
    qdq.prequantize_constants = flags.qdq_weights == "integer";
    qdq.activations = info.activations;
    qdq.moved_tensors = flags.qdq_moved;
    save_qdq_model(session.model(), flags.qdq_int32_bias ? with_biases(found, derived) : found,
                   files.place(prefix + ".qdq.onnx"), qdq);
  }
  for (const std::string& format : flags.also) {
    if (format == "tensorrt")
      write_text(files.place(prefix + ".trt.cache"), to_tensorrt_cache(derived));
    else
      write_text(files.place(prefix + ".ort-overrides.json"), to_onnxruntime_overrides(found));
  }
}

void add_export_flags(CLI::App& command, ExportFlags& flags) {
  command.add_option("--encoding-version", flags.encoding_version, "0.6.1, 1.0.0 or 2.0.0 (docs/encodings.md)")
      ->type_name("V")
      ->capture_default_str();
  command.add_flag("--qdq,!--no-qdq", flags.qdq, "Also write PREFIX.qdq.onnx (default: yes)");
  command
      .add_option("--qdq-weights", flags.qdq_weights, "In the QDQ model: floats behind Q and DQ, or integers behind DQ")
      ->type_name("float|integer")
      ->check(CLI::IsMember({"float", "integer"}).description(""))
      ->capture_default_str();
  command.add_flag("--qdq-int32-bias", flags.qdq_int32_bias, "In the QDQ model: biases as 32-bit integers behind DQ");
  command.add_flag("--qdq-derived,!--no-qdq-derived", flags.qdq_moved,
                   "In the QDQ model: pairs behind Reshape, Transpose, MaxPool and the like, too (default: yes)");
  command.add_flag_function(
      "--int32-bias,!--no-int32-bias", [&flags](std::int64_t count) { flags.int32_bias = count > 0; },
      "In the encodings file: 32-bit grids of biases (default: in 2.0.0 alone)");
  command
      .add_option("--activations-as", flags.activations_as,
                  "Integers of activations in the QDQ model and in 2.0.0, on the same grid: unsigned, signed, or as-is "
                  "(symmetric ones signed)")
      ->type_name("unsigned|signed|as-is")
      ->check(CLI::IsMember({"unsigned", "signed", "as-is"}).description(""))
      ->capture_default_str();
  command
      .add_option("--also", flags.also, "Also write PREFIX.trt.cache, PREFIX.ort-overrides.json (docs/encodings.md)")
      ->type_name("tensorrt,ort-overrides")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->check(CLI::IsMember({"tensorrt", "ort-overrides"}).description(""));
}

}  // namespace tare::cli
