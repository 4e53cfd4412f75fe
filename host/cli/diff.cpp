// tare diff: two encodings files, tensor by tensor, worst first. How far two grids are apart is measured in ranges: the
// largest move of a limit, divided by the wider of the two ranges.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/options.hpp"
#include "cli/terminal.hpp"
#include "export/given_encodings.hpp"
#include "tare/export.hpp"

namespace tare::cli {
namespace {

struct Flags {
  std::string a;
  std::string b;
  double rtol = 1e-4;
  std::size_t shown = 20;
  bool ignore_missing = false;
  ReportFlags report;
};

struct Difference {
  std::string tensor;
  double size = 0;  ///< infinite where the grids are of different kinds
  std::string detail;
};

constexpr double incomparable = std::numeric_limits<double>::infinity();

double distance(const Encoding& a, const Encoding& b) {
  const double range = std::max(a.max - a.min, b.max - b.min);
  const double moved = std::max(std::fabs(a.min - b.min), std::fabs(a.max - b.max));
  const double scaled = std::fabs(a.scale - b.scale) / std::max(std::fabs(a.scale), std::fabs(b.scale));
  if (range > 0) return std::max(moved / range, scaled);
  return a.scale == b.scale ? 0 : scaled;
}

std::string grid_text(const Encoding& encoding) {
  return fmt::format("[{:.6g}, {:.6g}] scale {:.6g} offset {:g}", encoding.min, encoding.max, encoding.scale,
                     encoding.offset);
}

Difference compare(const TensorEncodings& a, const TensorEncodings& b) {
  Difference result{a.tensor, 0, ""};
  const auto differ = [&](std::string detail) {
    result.size = incomparable;
    result.detail = std::move(detail);
  };
  if (a.spec.format != b.spec.format)
    differ(fmt::format("{} and {}", kind_text(a.spec), kind_text(b.spec)));
  else if (a.spec.bitwidth != b.spec.bitwidth)
    differ(fmt::format("{} and {} bits", a.spec.bitwidth, b.spec.bitwidth));
  else if (a.encodings.size() != b.encodings.size())
    differ(fmt::format("{} and {} encodings", a.encodings.size(), b.encodings.size()));
  else if (a.spec.decompressed_bitwidth != b.spec.decompressed_bitwidth)
    differ(fmt::format("low-power blocks widened to {} and {} bits (0: none)", a.spec.decompressed_bitwidth,
                       b.spec.decompressed_bitwidth));
  if (result.size == incomparable) return result;
  for (std::size_t i = 0; i < a.encodings.size(); ++i) {
    const double size = distance(a.encodings[i], b.encodings[i]);
    if (size <= result.size && i > 0) continue;
    result.size = size;
    result.detail = fmt::format(
        "{}{} and {}",
        a.encodings.size() > 1 ? fmt::format("{} {}: ", a.spec.block_size > 0 ? "block" : "channel", i) : "",
        grid_text(a.encodings[i]), grid_text(b.encodings[i]));
  }
  return result;
}

int diff(const Flags& flags) {
  const EncodingSet a = load_encodings(flags.a);
  const EncodingSet b = load_encodings(flags.b);
  std::map<std::string, const TensorEncodings*> rest;
  for (const TensorEncodings& tensor : b.tensors) rest[tensor.tensor] = &tensor;
  std::vector<Difference> differences;
  std::size_t only_a = 0;
  for (const TensorEncodings& tensor : a.tensors) {
    const auto other = rest.find(tensor.tensor);
    if (other == rest.end()) {
      ++only_a;
      if (!flags.ignore_missing)
        differences.push_back({tensor.tensor, incomparable, fmt::format("only in {}", flags.a)});
      continue;
    }
    differences.push_back(compare(tensor, *other->second));
    rest.erase(other);
  }
  if (!flags.ignore_missing)
    for (const auto& [name, tensor] : rest)
      differences.push_back({name, incomparable, fmt::format("only in {}", flags.b)});
  std::stable_sort(differences.begin(), differences.end(),
                   [](const Difference& x, const Difference& y) { return x.size > y.size; });
  const auto past = static_cast<std::size_t>(
      std::count_if(differences.begin(), differences.end(), [&](const Difference& d) { return d.size > flags.rtol; }));
  const std::size_t common = a.tensors.size() - only_a;

  if (flags.report.json) {
    nlohmann::ordered_json object = {{"a", flags.a},      {"b", flags.b},     {"rtol", flags.rtol},
                                     {"tensors", common}, {"only_a", only_a}, {"only_b", rest.size()},
                                     {"different", past}};
    object["differences"] = nlohmann::ordered_json::array();
    for (const Difference& d : differences)
      if (d.size > flags.rtol)
        object["differences"].push_back({{"tensor", d.tensor}, {"difference", d.size}, {"detail", d.detail}});
    print_json(object);
  } else if (!flags.report.quiet) {
    std::string text = "difference  tensor  A and B\n";
    std::size_t shown = 0;
    for (const Difference& d : differences) {
      if (d.size == 0 || shown == flags.shown) break;
      text += one_line(fmt::format("{:>10}  {}  {}", std::isinf(d.size) ? "differs" : fmt::format("{:.3g}", d.size),
                                   d.tensor, d.detail)) +
              "\n";
      ++shown;
    }
    const auto nonzero = static_cast<std::size_t>(
        std::count_if(differences.begin(), differences.end(), [](const Difference& d) { return d.size > 0; }));
    if (nonzero > shown) text += fmt::format("            … and {} more; --show N lists more\n", nonzero - shown);
    text += fmt::format("{} tensors in both, {} only in A, {} only in B; {} differ by more than {:g} (--rtol)\n",
                        common, only_a, rest.size(), past, flags.rtol);
    print(text);
  }
  return past > 0 ? 1 : 0;
}

}  // namespace

void add_diff(CLI::App& root, Action& action) {
  CLI::App& command =
      *root.add_subcommand("diff", "Compare two encodings files, tensor by tensor; exit 1 when they differ");
  const auto flags = std::make_shared<Flags>();
  command.add_option("a", flags->a, "Encodings of tare or AIMET, any version")->type_name("A.encodings")->required();
  command.add_option("b", flags->b, "The file to compare with")->type_name("B.encodings")->required();
  command.add_option("--rtol", flags->rtol, "Largest difference that is none, as a share of the range")
      ->type_name("R")
      ->check([](const std::string& given) {
        double value = -1;
        const auto [end, status] = std::from_chars(given.data(), given.data() + given.size(), value);
        const bool whole = status == std::errc() && end == given.data() + given.size();
        return whole && value >= 0 ? std::string() : fmt::format("'{}' is no number of at least 0", given);
      })
      ->capture_default_str();
  command.add_option("--show", flags->shown, "Print at most this many tensors")->type_name("N")->capture_default_str();
  command.add_flag("--ignore-missing", flags->ignore_missing, "Compare only tensors that both files have");
  add_report_flags(command, flags->report);
  add_examples(command,
               {"tare diff out/model.encodings aimet.encodings", "tare diff a.encodings b.encodings --rtol 0 --json",
                "tare diff v1.encodings v2.encodings --ignore-missing --show 100"});
  command.callback([flags, &action, &command] {
    action = [flags, &command] {
      if (flags->report.json) refuse_idle(command, {"--show"}, "--json lists all tensors that differ");
      return diff(*flags);
    };
  });
}

}  // namespace tare::cli
