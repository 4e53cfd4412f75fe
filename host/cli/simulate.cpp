// tare simulate: the quantized model on data, and how far its outputs are from the float ones.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/batches.hpp"
#include "cli/metrics.hpp"
#include "cli/options.hpp"
#include "cli/terminal.hpp"
#include "model/integer_values.hpp"

namespace tare::cli {
namespace {

struct Flags {
  std::string model;
  std::string encodings;
  std::string output;
  DataFlags data;
  RunFlags run;
  ReportFlags report;
};

/// One output of the two models.
class Comparison {
 public:
  void add_batch(const Tensor& exact, const Tensor& simulated) {
    type_ = exact.type();
    if (exact.shape() != simulated.shape()) {
      if (others_++ == 0) shapes_ = fmt::format("{} for {}", simulated.shape().text(), exact.shape().text());
      return;
    }
    const auto s = real_values(exact), q = real_values(simulated);
    if (s && q) error_.add_batch(*s, *q);
    const auto a = integer_values(exact), b = integer_values(simulated);
    if (a && b) equal_.add_batch(*a, *b);
    compared_ = compared_ || (s && q) || (a && b);
    integers_ = integers_ || (a && b);
  }
  nlohmann::ordered_json json(const std::string& name) const {
    return {{"name", name},
            {"type", name_of(type_)},
            {"sqnr_db", error_.mean_sqnr_db()},
            {"sqnr_db_all_values", error_.total_sqnr_db()},
            {"mse", error_.mean_squared_error()},
            {"nonfinite_left_out", error_.left_out()},
            {"equal", equal_.share()},
            {"batches_of_other_shape", others_}};
  }
  /// What stands behind the output's name.
  std::string text() const {
    std::string text = "not compared";
    if (integers_)
      text =
          fmt::format("{:>12}  of {} {} values are equal", share_text(equal_.share()), equal_.count(), name_of(type_));
    else if (compared_)
      text = fmt::format("{:>12}  {:>12}", decibel_text(error_.mean_sqnr_db()), decibel_text(error_.total_sqnr_db()));
    else if (others_ == 0)
      text += fmt::format(" ({})", name_of(type_));
    if (error_.left_out() > 0) text += fmt::format("  ({} NaN or infinite values left out)", error_.left_out());
    if (others_ > 0)
      text += fmt::format("  ({} batch{} left out whose shape differs from the float model's, the first {})", others_,
                          others_ == 1 ? "" : "es", shapes_);
    return text;
  }

 private:
  DataType type_ = DataType::undefined;
  OutputError error_;
  EqualShare equal_;
  bool compared_ = false, integers_ = false;
  std::size_t others_ = 0;  ///< batches where quantizing has changed the shape, which follows from the data
  std::string shapes_;      ///< of the first of them
};

void report(const Flags& flags, const Graph& graph, const Pass& pass, const QuantizerCounts& quantizers,
            const std::vector<Comparison>& outputs) {
  if (flags.report.json) {
    nlohmann::ordered_json object = {{"model", flags.model},
                                     {"encodings", flags.encodings},
                                     {"activation_quantizers", quantizers.activations},
                                     {"parameter_quantizers", quantizers.parameters}};
    add_figures(object, pass);
    for (std::size_t i = 0; i < outputs.size(); ++i)
      object["outputs"].push_back(outputs[i].json(graph.value(graph.outputs[i]).name));
    if (!flags.output.empty()) object["files"] = {flags.output};
    print_json(object);
    return;
  }
  if (flags.report.quiet) return;
  std::string text =
      fmt::format("simulated   {}, {} with the float model beside it\n", pass.data, seconds_text(pass.seconds));
  text += fmt::format("quantizers  {}\n", counts_text(quantizers));
  std::size_t width = 6;
  for (const ValueId output : graph.outputs)
    width = std::max(width, std::min<std::size_t>(graph.value(output).name.size(), 60));
  text += fmt::format("{:<{}}  {:>12}  {:>12}\n", "output", width, "SQNR", "all values");
  for (std::size_t i = 0; i < outputs.size(); ++i)
    text += fmt::format("{:<{}}  {}\n", graph.value(graph.outputs[i]).name, width, outputs[i].text());
  if (!flags.output.empty()) text += fmt::format("written     {}\n", flags.output);
  print(text);
}

int simulate(const Flags& flags) {
  Session session = open_session(flags.model, flags.run, true);
  if (flags.encodings.empty() && session.held_encodings().tensors.empty())
    throw Error(ErrorKind::usage, "--encodings is required: the model holds no quantizers of its own");
  const QuantizerCounts quantizers = use_encodings(session, flags.encodings);
  refuse_replacing(flags.output, session.model(), flags.data.data, {flags.model, flags.encodings});
  session.prepare();
  OutputFile file(flags.output);
  const std::unique_ptr<Dataset> data = open_data(flags.data, flags.run, session.graph());
  const Graph& graph = session.graph();
  std::vector<Comparison> compared(graph.outputs.size());
  const Pass pass =
      run_batches("simulating", session, {.exact = true, .simulated = true}, *data, nonfinite_policy(flags.run),
                  flags.report.quiet, [&](const Batch&, std::size_t index, const BatchOutputs& outputs) {
                    for (std::size_t i = 0; i < compared.size(); ++i)
                      compared[i].add_batch(outputs.exact[i], outputs.simulated[i]);
                    file.add(index, graph, outputs.simulated);
                  });
  file.commit();
  report(flags, graph, pass, quantizers, compared);
  return 0;
}

}  // namespace

void add_simulate(CLI::App& root, Action& action) {
  CLI::App& command =
      *root.add_subcommand("simulate", "Run the quantized model; compare its outputs with the float ones");
  const auto flags = std::make_shared<Flags>();
  command.add_option("model", flags->model, "The model")->type_name("MODEL.onnx")->required();
  command
      .add_option("--encodings", flags->encodings, "Encodings of tare or AIMET, any version (a QDQ model has its own)")
      ->type_name("F");
  add_data_flags(command, flags->data);
  command.add_option("--output,-o", flags->output, "Write the simulated outputs: keys NNN/<output name>")
      ->type_name("OUT.npz");
  add_run_flags(command, flags->run);
  add_report_flags(command, flags->report);
  add_examples(command, {"tare simulate model.onnx --encodings out/model.encodings --data samples.npz",
                         "tare simulate model.onnx --encodings aimet.encodings --data samples.npz --rounding aimet "
                         "--output simulated.npz"});
  command.callback([flags, &action] {
    action = [flags] { return with_convolutions(flags->run, [&] { return simulate(*flags); }); };
  });
}

}  // namespace tare::cli
