// tare evaluate: the user's own measure of the float model, of the simulated one, and what quantization costs.
// Odd: top1 and top5 know the truth and give a figure for each model; all others compare the two models.
#include <fmt/format.h>

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
  std::string labels;
  std::string metric = "top1";
  std::string output_name;
  DataFlags data;
  RunFlags run;
  ReportFlags report;
};

class Evaluation {
 public:
  /// `simulated`: there is a quantized model beside the float one.
  Evaluation(const Flags& flags, const Graph& graph, bool simulated) : flags_(flags), simulated_(simulated) {
    classes_ = flags.metric == "top1" || flags.metric == "top5";
    if (classes_ && flags.labels.empty())
      throw Error(ErrorKind::usage, fmt::format("--metric {} needs --labels", flags.metric));
    if (!classes_ && !simulated_)
      throw Error(ErrorKind::usage,
                  fmt::format("--metric {} compares with the simulated model: it needs --encodings", flags.metric));
    if (!classes_ && !flags.labels.empty())
      throw Error(ErrorKind::usage, fmt::format("--metric {} takes no --labels", flags.metric));
    for (std::size_t i = 0; i < graph.outputs.size(); ++i)
      if (flags.output_name.empty() ? i == 0 : graph.value(graph.outputs[i]).name == flags.output_name) output_ = i;
    if (!output_) {
      std::string names;
      for (const ValueId output : graph.outputs) names += (names.empty() ? "" : ", ") + graph.value(output).name;
      throw Error(ErrorKind::usage,
                  fmt::format("--output-name: the model has no output '{}'; it has {}", flags.output_name, names));
    }
    output_name_ = graph.value(graph.outputs[*output_]).name;
    if (classes_) labels_ = read_labels(flags.labels);
  }

  std::size_t output() const { return *output_; }
  bool simulated() const { return simulated_; }
  bool classes() const { return classes_; }
  const std::string& output_name() const { return output_name_; }

  /// One a sample, also of those that fill no batch; more are fine where --samples ends the data early.
  void check_labels(const Dataset& data) const {
    if (!classes_) return;
    const std::size_t samples = data.samples() + data.left_out();
    if (labels_.size() < samples || (labels_.size() > samples && samples < flags_.data.samples))
      throw Error(ErrorKind::data, fmt::format("{}: {} labels for {} samples; one label a sample is needed",
                                               flags_.labels, labels_.size(), samples));
  }

  /// `simulated`: null where there is no quantized model.
  void add(const Batch& batch, const Tensor& exact, const Tensor* simulated) {
    if (simulated != nullptr && simulated->shape() != exact.shape()) refuse_shapes(batch, exact, *simulated);
    if (exact.elements() == 0) return;
    if (const auto found = classes_of(batch, exact))
      add_classes(batch, *found, *(simulated == nullptr ? found : classes_of(batch, *simulated)));
    else
      add_values(batch, exact, simulated);
  }

  /// A model whose outputs are no numbers, or not there, has not been evaluated.
  void check_measured() const {
    if (rows_ == 0)
      throw Error(ErrorKind::data,
                  fmt::format("output '{}' is empty for every sample: there is nothing to measure", output_name_));
    if (error_.has_nothing() && error_.left_out() > 0)
      throw Error(ErrorKind::data,
                  fmt::format("all {} values of output '{}' are NaN or infinite in the float {}model: there is nothing "
                              "to {}",
                              error_.left_out(), output_name_, simulated_ ? "or the simulated " : "",
                              simulated_ ? "compare" : "measure"));
  }

  double float_figure() const { return rows_ > 0 ? float_sum_ / static_cast<double>(rows_) : 0; }
  double simulated_figure() const {
    if (flags_.metric == "mse") return error_.mean_squared_error();
    if (flags_.metric == "sqnr") return error_.mean_sqnr_db();
    return rows_ > 0 ? simulated_sum_ / static_cast<double>(rows_) : 0;
  }

 private:
  [[noreturn]] void refuse_shapes(const Batch& batch, const Tensor& exact, const Tensor& simulated) const {
    throw Error(ErrorKind::data,
                fmt::format("output '{}' has shape {} in the float and {} in the simulated model for the {} sample{} "
                            "from sample {} on: its shape depends on the data, so that nothing can be compared; choose "
                            "an output in front of that with --output-name",
                            output_name_, exact.shape().text(), simulated.shape().text(), batch.samples,
                            batch.samples == 1 ? "" : "s", batch.first_sample));
  }

  /// The answers of an output that gives one class a sample, as behind an ArgMax; nothing for scores.
  std::optional<std::vector<std::int64_t>> classes_of(const Batch& batch, const Tensor& output) const {
    if (flags_.metric != "top1" && flags_.metric != "agreement") return std::nullopt;
    const auto samples = static_cast<std::int64_t>(batch.samples);
    if (output.elements() != samples || (samples > 1 && output.shape()[0] != samples)) return std::nullopt;
    return integer_values(output);
  }

  void add_classes(const Batch& batch, const std::vector<std::int64_t>& exact,
                   const std::vector<std::int64_t>& simulated) {
    for (std::size_t row = 0; row < exact.size(); ++row) {
      const std::int64_t right = classes_ ? labels_[batch.first_sample + row] : exact[row];
      float_sum_ += exact[row] == right ? 1 : 0;
      simulated_sum_ += simulated[row] == right ? 1 : 0;
    }
    rows_ += exact.size();
  }

  void add_values(const Batch& batch, const Tensor& exact, const Tensor* simulated) {
    const std::vector<float> s = values(exact);
    const std::vector<float> other = simulated == nullptr ? std::vector<float>() : values(*simulated);
    const std::span<const float> q = simulated == nullptr ? s : other;
    error_.add_batch(s, q);  // without a simulated model it finds out whether there are numbers
    const std::size_t rows = rows_of(batch, exact);
    const std::size_t width = s.size() / rows;
    const std::size_t k = flags_.metric == "top5" ? 5 : 1;
    if (k > 1 && width <= k)
      throw Error(ErrorKind::data, fmt::format("--metric top{}: output '{}' has {} classes, so that every answer is "
                                               "among the first {}; use top1",
                                               k, output_name_, width, k));
    for (std::size_t row = 0; row < rows; ++row) {
      const std::span<const float> a = std::span(s).subspan(row * width, width);
      const std::span<const float> b = q.subspan(row * width, width);
      if (classes_) {
        const std::int64_t label = label_of(batch.first_sample + row, width);
        float_sum_ += among_largest(a, label, k) ? 1 : 0;
        simulated_sum_ += among_largest(b, label, k) ? 1 : 0;
      } else if (flags_.metric == "agreement") {
        simulated_sum_ += largest(a) == largest(b) ? 1 : 0;
      } else if (flags_.metric == "cosine") {
        simulated_sum_ += cosine(a, b);
      }
    }
    rows_ += rows;
  }

  std::int64_t label_of(std::size_t sample, std::size_t classes) const {
    const std::int64_t label = labels_[sample];
    if (label < 0 || static_cast<std::size_t>(label) >= classes)
      throw Error(ErrorKind::data, fmt::format("{}: label {} of sample {} is not one of the {} classes of output '{}'",
                                               flags_.labels, label, sample, classes, output_name_));
    return label;
  }

  std::vector<float> values(const Tensor& tensor) const {
    auto result = real_values(tensor);
    if (!result)
      throw Error(
          ErrorKind::unsupported,
          fmt::format(
              "output '{}' is {} of shape {}, and --metric {} takes {}; choose another one with "
              "--output-name",
              output_name_, name_of(tensor.type()), tensor.shape().text(), flags_.metric,
              flags_.metric == "top1" || flags_.metric == "agreement" ? "floats, or one integer a sample" : "floats"));
    return std::move(*result);
  }

  /// One row a sample; outputs that have no batch axis count as one.
  std::size_t rows_of(const Batch& batch, const Tensor& output) const {
    const bool batched = output.rank() > 0 && output.shape()[0] == static_cast<std::int64_t>(batch.samples);
    if (batched) return batch.samples;
    if (classes_ && batch.samples != 1)
      throw Error(ErrorKind::data,
                  fmt::format("output '{}' has shape {} for {} samples: it does not give one answer a sample; "
                              "try --batch-size 1",
                              output_name_, output.shape().text(), batch.samples));
    return 1;
  }

  const Flags& flags_;
  bool simulated_;
  bool classes_ = false;
  std::optional<std::size_t> output_;
  std::string output_name_;
  std::vector<std::int64_t> labels_;
  OutputError error_;
  double float_sum_ = 0;
  double simulated_sum_ = 0;
  std::size_t rows_ = 0;
};

std::string figure_text(const std::string& metric, double value) {
  if (metric == "sqnr") return decibel_text(value);
  if (metric == "mse") return fmt::format("{:.6g}", value);
  if (metric == "cosine") return fmt::format("{:.6f}", value);
  return share_text(value);
}

void report(const Flags& flags, const Evaluation& evaluation, const Pass& pass, const QuantizerCounts& quantizers) {
  const auto rate = [&](double seconds) { return seconds > 0 ? static_cast<double>(pass.samples) / seconds : 0; };
  if (flags.report.json) {
    nlohmann::ordered_json object = {{"model", flags.model},
                                     {"metric", flags.metric},
                                     {"output", evaluation.output_name()},
                                     {"samples", pass.samples},
                                     {"batches", pass.batches},
                                     {"samples_left_out", pass.left_out},
                                     {"samples_available", pass.available},
                                     {"float_samples_per_second", rate(pass.float_seconds)},
                                     {"peak_memory_bytes", peak_memory_bytes()}};
    if (evaluation.classes()) object["float"] = evaluation.float_figure();
    if (evaluation.simulated()) {
      object["encodings"] = flags.encodings;  // empty: the model's own
      object["activation_quantizers"] = quantizers.activations;
      object["parameter_quantizers"] = quantizers.parameters;
      object["simulated_samples_per_second"] = rate(pass.simulated_seconds);
      object[evaluation.classes() ? "simulated" : "value"] = evaluation.simulated_figure();
      if (evaluation.classes()) object["difference"] = evaluation.simulated_figure() - evaluation.float_figure();
    }
    print_json(object);
    return;
  }
  if (flags.report.quiet) return;
  std::string text = fmt::format("{} of '{}' on {}\n", flags.metric, evaluation.output_name(), pass.data);
  if (evaluation.classes())
    text += fmt::format("float       {:>12}   {:.1f} samples/s\n", figure_text(flags.metric, evaluation.float_figure()),
                        rate(pass.float_seconds));
  if (evaluation.simulated()) {
    text += fmt::format("quantizers  {}\n", counts_text(quantizers));
    text += fmt::format("{}{:>12}   {:.1f} samples/s\n", evaluation.classes() ? "simulated   " : "simulated to float ",
                        figure_text(flags.metric, evaluation.simulated_figure()), rate(pass.simulated_seconds));
    if (evaluation.classes())
      text +=
          fmt::format("difference  {:>12}\n",
                      fmt::format("{:+.2f} points", 100 * (evaluation.simulated_figure() - evaluation.float_figure())));
  }
  print(text);
}

int evaluate(const Flags& flags) {
  Session session = open_session(flags.model, flags.run, true);
  const Graph& graph = session.graph();
  const bool own = flags.encodings.empty() && !session.held_encodings().tensors.empty();
  Evaluation evaluation(flags, graph, own || !flags.encodings.empty());
  if (!evaluation.simulated() && flags.run.rounding != "half-even")
    refuse_idle("--rounding", "without --encodings there is no quantized model");
  QuantizerCounts quantizers;
  if (evaluation.simulated()) quantizers = use_encodings(session, flags.encodings);
  session.prepare();
  const std::unique_ptr<Dataset> data = open_data(flags.data, flags.run, graph);
  evaluation.check_labels(*data);
  const Pass pass = run_batches(
      "evaluating", session, {.exact = true, .simulated = evaluation.simulated()}, *data, nonfinite_policy(flags.run),
      flags.report.quiet, [&](const Batch& batch, std::size_t, const BatchOutputs& outputs) {
        evaluation.add(batch, outputs.exact[evaluation.output()],
                       evaluation.simulated() ? &outputs.simulated[evaluation.output()] : nullptr);
      });
  evaluation.check_measured();
  report(flags, evaluation, pass, quantizers);
  return 0;
}

}  // namespace

void add_evaluate(CLI::App& root, Action& action) {
  CLI::App& command =
      *root.add_subcommand("evaluate", "Measure the float and the quantized model on labelled or unlabelled data");
  const auto flags = std::make_shared<Flags>();
  command.add_option("model", flags->model, "The model")->type_name("MODEL.onnx")->required();
  command
      .add_option("--encodings", flags->encodings,
                  "Encodings of the quantized model (a QDQ model has its own); without, the float model alone")
      ->type_name("F");
  add_data_flags(command, flags->data);
  command.add_option("--labels", flags->labels, "Class of every sample, in order: .npy of integers, text or .csv")
      ->type_name("L");
  command
      .add_option("--metric", flags->metric,
                  "top1, top5 (need --labels); agreement, cosine, mse, sqnr (simulated against float)")
      ->type_name("METRIC")
      ->check(CLI::IsMember({"top1", "top5", "agreement", "cosine", "mse", "sqnr"}).description(""))
      ->capture_default_str();
  command.add_option("--output-name", flags->output_name, "The output to measure (default: the first)")
      ->type_name("NAME");
  add_run_flags(command, flags->run);
  add_report_flags(command, flags->report);
  add_examples(
      command,
      {"tare evaluate model.onnx --data test.npz --labels labels.npy --metric top1",
       "tare evaluate model.onnx --encodings out/model.encodings --data test.npz --labels labels.csv --metric top5",
       "tare evaluate model.onnx --encodings out/model.encodings --data test.npz --metric cosine --output-name "
       "embedding"});
  command.callback([flags, &action] {
    action = [flags] { return with_convolutions(flags->run, [&] { return evaluate(*flags); }); };
  });
}

}  // namespace tare::cli
