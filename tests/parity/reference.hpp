// AIMET's answers on the eight real models: five runs each, every quantizer it enables and every encoding it finds.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "support/golden.hpp"
#include "tare/quantizer.hpp"

namespace tare::parity {

using test::GoldenRun;

struct Grid {
  float scale;
  std::int32_t offset;
};

/// One quantizer as AIMET has it.
struct Quantizer {
  std::string kind;         ///< "parameter int8 symmetric x16": role, bitwidth, symmetry, flags, channels
  std::vector<Grid> grids;  ///< one a channel
};

/// By tensor.
using Reference = std::map<std::string, Quantizer>;

/// tests/data/golden/MODEL/quantizers.tsv (one column a run: kind, and where its grids begin) and encodings.npz (scales
/// and offsets; equal ones stand there once).
Reference load_reference(const test::GoldenModel& model, const GoldenRun& run);

/// `kind` of one of our quantizers.
std::string describe(SiteRole role, const QuantizerSpec& spec, std::size_t grids);

}  // namespace tare::parity
