#include "cli/overrides.hpp"

#include "tare/export.hpp"

namespace tare::cli {
namespace {

void add_list(CLI::App& command, const std::string& flag, std::vector<std::string>& values, const std::string& help,
              const std::string& type) {
  command.add_option(flag, values, help)
      ->type_name(type)
      ->delimiter(',')
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

}  // namespace

void add_given_flags(CLI::App& command, OverrideFlags& flags) {
  command
      .add_option("--encodings-in", flags.encodings_in,
                  "Keep these encodings (any version, also a part); find the rest")
      ->type_name("F");
  command.add_flag("--freeze-params", flags.freeze_parameters, "Of --encodings-in, keep those of parameters only");
  command.add_flag("--strict", flags.strict, "Stop when given encodings are of another kind than their quantizers");
}

void add_override_flags(CLI::App& command, OverrideFlags& flags) {
  command
      .add_option("--override", flags.overrides,
                  "Change quantizers by tensor name: 'regex:bits=16,symmetric=true,scheme=mse,enabled=false' "
                  "(repeatable; docs/cli.md)")
      ->type_name("REGEX:KEY=VALUE,…")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_list(command, "--op-types-to-quantize", flags.op_types_to_quantize, "Quantize these operators only", "TYPE,…");
  add_list(command, "--op-types-to-exclude", flags.op_types_to_exclude, "Leave these operators in float", "TYPE,…");
  add_list(command, "--nodes-to-exclude", flags.nodes_to_exclude, "Leave these nodes in float", "NODE,…");
}

void set_overrides(const OverrideFlags& flags, CalibrationOptions& options) {
  options.selection = {flags.op_types_to_quantize, flags.op_types_to_exclude, flags.nodes_to_exclude};
  for (const std::string& text : flags.overrides) options.overrides.push_back(parse_override(text));
  if (flags.encodings_in.empty()) {
    if (flags.freeze_parameters || flags.strict)
      throw Error(ErrorKind::usage, "--freeze-params and --strict say what to do with --encodings-in; give it, too");
    return;
  }
  GivenEncodings given;
  EncodingsFile file = load_encodings_file(flags.encodings_in);
  given.set = std::move(file.set);
  given.tells_symmetry = file.version != EncodingVersion::v2_0_0;
  given.parameters_only = flags.freeze_parameters;
  given.strict = flags.strict;
  options.given = std::move(given);
}

}  // namespace tare::cli
