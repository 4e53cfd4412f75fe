// tare run: the float model on data.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/batches.hpp"
#include "cli/options.hpp"
#include "cli/terminal.hpp"

namespace tare::cli {
namespace {

struct Flags {
  std::string model;
  std::string output;
  DataFlags data;
  RunFlags run;
  ReportFlags report;
};

int run(const Flags& flags) {
  if (flags.run.rounding != "half-even")
    refuse_idle("--rounding", "run takes every operator as ONNX has it, and places no quantizers");
  Session session = open_session(flags.model, flags.run);
  refuse_replacing(flags.output, session.model(), flags.data.data, {flags.model});
  session.prepare();
  OutputFile file(flags.output);
  const std::unique_ptr<Dataset> data = open_data(flags.data, flags.run, session.graph());
  const Pass pass = run_batches("running", session, {}, *data, nonfinite_policy(flags.run), flags.report.quiet,
                                [&](const Batch&, std::size_t index, const BatchOutputs& outputs) {
                                  file.add(index, session.graph(), outputs.exact);
                                });
  file.commit();
  if (flags.report.json) {
    nlohmann::ordered_json object = {{"model", flags.model}};
    add_figures(object, pass);
    if (!flags.output.empty()) object["files"] = {flags.output};
    print_json(object);
  } else if (!flags.report.quiet) {
    print(fmt::format("ran         {}, {}, {:.1f} samples/s\n", pass.data, seconds_text(pass.seconds), pass.rate()));
    if (!flags.output.empty()) print(fmt::format("written     {}\n", flags.output));
  }
  return 0;
}

}  // namespace

void add_run(CLI::App& root, Action& action) {
  CLI::App& command = *root.add_subcommand("run", "Run the float model");
  const auto flags = std::make_shared<Flags>();
  command.add_option("model", flags->model, "The model")->type_name("MODEL.onnx")->required();
  add_data_flags(command, flags->data);
  command.add_option("--output,-o", flags->output, "Write the outputs: keys NNN/<output name>, one NNN a batch")
      ->type_name("OUT.npz");
  add_run_flags(command, flags->run);
  add_report_flags(command, flags->report);
  add_examples(command, {"tare run model.onnx --data samples.npz --output outputs.npz",
                         "tare run model.onnx --data samples.npz --threads 1 --json"});
  command.callback(
      [flags, &action] { action = [flags] { return with_convolutions(flags->run, [&] { return run(*flags); }); }; });
}

}  // namespace tare::cli
