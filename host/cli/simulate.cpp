// tare simulate: the quantized model on data, and how far its outputs are from the float ones.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/batches.hpp"
#include "cli/metrics.hpp"
#include "cli/options.hpp"
#include "cli/terminal.hpp"

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

void report(const Flags& flags, const Graph& graph, const Pass& pass, const QuantizerCounts& quantizers,
            const std::vector<OutputError>& errors) {
  if (flags.report.json) {
    nlohmann::ordered_json object = {{"model", flags.model},
                                     {"encodings", flags.encodings},
                                     {"activation_quantizers", quantizers.activations},
                                     {"parameter_quantizers", quantizers.parameters},
                                     {"samples", pass.samples},
                                     {"batches", pass.batches},
                                     {"samples_left_out", pass.left_out},
                                     {"seconds", pass.seconds},
                                     {"samples_per_second", pass.rate()},
                                     {"peak_memory_bytes", peak_memory_bytes()}};
    for (std::size_t i = 0; i < errors.size(); ++i)
      object["outputs"].push_back({{"name", graph.value(graph.outputs[i]).name},
                                   {"sqnr_db", errors[i].mean_sqnr_db()},
                                   {"sqnr_db_all_values", errors[i].total_sqnr_db()},
                                   {"mse", errors[i].mean_squared_error()},
                                   {"nonfinite_left_out", errors[i].left_out()}});
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
  for (std::size_t i = 0; i < errors.size(); ++i) {
    text += fmt::format("{:<{}}  {:>12}  {:>12}", graph.value(graph.outputs[i]).name, width,
                        decibel_text(errors[i].mean_sqnr_db()), decibel_text(errors[i].total_sqnr_db()));
    if (errors[i].left_out() > 0) text += fmt::format("  ({} NaN or infinite values left out)", errors[i].left_out());
    text += "\n";
  }
  if (!flags.output.empty()) text += fmt::format("written     {}\n", flags.output);
  print(text);
}

int simulate(const Flags& flags) {
  Session session = open_session(flags.model, flags.run, true);
  if (flags.encodings.empty() && session.held_encodings().tensors.empty())
    throw Error(ErrorKind::usage, "--encodings is required: the model holds no quantizers of its own");
  const QuantizerCounts quantizers = use_encodings(session, flags.encodings);
  refuse_replacing(flags.output, session.model(), {flags.model, flags.data.data, flags.encodings});
  session.prepare();
  OutputFile file(flags.output);
  const std::unique_ptr<Dataset> data = open_data(flags.data, flags.run, session.graph());
  const Graph& graph = session.graph();
  std::vector<OutputError> errors(graph.outputs.size());
  const Pass pass =
      run_batches("simulating", session, {.exact = true, .simulated = true}, *data, nonfinite_policy(flags.run),
                  flags.report.quiet, [&](const Batch&, std::size_t index, const BatchOutputs& outputs) {
                    for (std::size_t i = 0; i < errors.size(); ++i) {
                      const auto s = real_values(outputs.exact[i]);
                      const auto q = real_values(outputs.simulated[i]);
                      if (s && q) errors[i].add_batch(*s, *q);
                    }
                    file.add(index, graph, outputs.simulated);
                  });
  file.commit();
  report(flags, graph, pass, quantizers, errors);
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
