// The gradient of quantize-dequantize: what the input gets is one read of two tensors and one write; what the grids get
// are sums of parts that lie one after the other, added up in their order. Half types pass through floats on the stack.
#include "cpu/gradient.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "cpu/vector.hpp"

namespace tare::cpu {
namespace {

constexpr std::int64_t piece = 4096;  ///< elements of half types that are floats at a time
constexpr std::int64_t grain = 16384;
constexpr std::int64_t most_shares = 64;  ///< of columns: each has sums of its own

class Gradient {
 public:
  Gradient(Device& device, const Tensor& input, const Tensor& gradient, const TensorEncodings& encodings,
           Rounding rounding)
      : device_(device),
        vector_(device.vector()),
        input_(input),
        gradient_(gradient),
        result_(device.allocate(input.type(), input.shape(), input.layout())),
        encodings_(encodings),
        half_up_(rounding == Rounding::half_up),
        runs_(grid_runs(input.shape(), input.layout(), encodings)),
        scale_(static_cast<std::size_t>(runs_.count())),
        offset_(scale_.size()) {}

  QuantizeGradient run() {
    if (runs_.elements > 0) {
      const GradientShares shares(runs_);
      if (shares.way != GradientShares::Way::columns) grids_ = grids_of(runs_, encodings_);
      switch (shares.way) {
        case GradientShares::Way::columns: columns(); break;
        case GradientShares::Way::runs: segments(shares); break;
        case GradientShares::Way::grids: whole_grids(); break;
      }
    }
    return in_order_of_encodings(result_, runs_, scale_, offset_);
  }

 private:
  using Sums = std::array<double, 2>;

  /// body(in, gradient, out, offset, count) on floats of [begin, begin + count), in as many pieces as it takes.
  template <class Body>
  void floats(std::int64_t begin, std::int64_t count, const Body& body) {
    if (input_.type() == DataType::float32)
      return body(input_.data<float>() + begin, gradient_.data<float>() + begin, result_.mutable_data<float>() + begin,
                  std::int64_t{0}, count);
    const bool half = input_.type() == DataType::float16;
    const auto widen = half ? vector_.widen_float16 : vector_.widen_bfloat16;
    const auto narrow = half ? vector_.narrow_float16 : vector_.narrow_bfloat16;
    alignas(64) std::array<float, piece> in;
    alignas(64) std::array<float, piece> gradient;
    for (std::int64_t done = 0; done < count; done += piece) {
      const std::int64_t some = std::min(piece, count - done);
      const auto n = static_cast<std::size_t>(some);
      widen(input_.data<std::uint16_t>() + begin + done, in.data(), n);
      widen(gradient_.data<std::uint16_t>() + begin + done, gradient.data(), n);
      body(in.data(), gradient.data(), in.data(), done, some);
      narrow(in.data(), result_.mutable_data<std::uint16_t>() + begin + done, n);
    }
  }

  /// Elements that share a grid.
  void add(std::int64_t begin, std::int64_t count, const Grid& grid, Sums& sums) {
    const auto loop = half_up_ ? vector_.gradient_half_up : vector_.gradient_half_even;
    floats(begin, count, [&](const float* in, const float* gradient, float* out, std::int64_t, std::int64_t some) {
      loop(in, gradient, out, static_cast<std::size_t>(some), grid, sums.data());
    });
  }

  void segments(const GradientShares& shares) {
    std::vector<Sums> parts(static_cast<std::size_t>(shares.segments));
    const std::int64_t together = std::max<std::int64_t>(1, grain / std::min(runs_.run, GradientShares::segment));
    device_.parallel(shares.segments, together, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t s = begin; s < end; ++s) {
        const std::int64_t run = s / shares.segments_a_run;
        const std::int64_t first = s % shares.segments_a_run * GradientShares::segment;
        add(run * runs_.run + first, std::min(GradientShares::segment, runs_.run - first),
            grids_[static_cast<std::size_t>(runs_.grid_of(run))], parts[static_cast<std::size_t>(s)]);
      }
    });
    of_every_grid([&](std::int64_t grid, Sums& sums) {
      for (std::int64_t i = 0; i < runs_.runs_of(grid); ++i) {
        const std::int64_t first = runs_.run_of(grid, i) * shares.segments_a_run;
        for (std::int64_t s = first; s < first + shares.segments_a_run; ++s)
          for (std::size_t k = 0; k < sums.size(); ++k) sums[k] += parts[static_cast<std::size_t>(s)][k];
      }
    });
  }

  void whole_grids() {
    of_every_grid([&](std::int64_t grid, Sums& sums) {
      for (std::int64_t i = 0; i < runs_.runs_of(grid); ++i)
        add(runs_.run_of(grid, i) * runs_.run, runs_.run, grids_[static_cast<std::size_t>(grid)], sums);
    });
  }

  /// body(grid, sums) fills the sums of all grids.
  template <class Body>
  void of_every_grid(const Body& body) {
    const std::int64_t together = std::max<std::int64_t>(1, grain * runs_.count() / runs_.elements);
    device_.parallel(runs_.count(), together, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t grid = begin; grid < end; ++grid) {
        Sums sums{};
        body(grid, sums);
        scale_[static_cast<std::size_t>(grid)] = sums[0];
        offset_[static_cast<std::size_t>(grid)] = sums[1];
      }
    });
  }

  void columns() {
    const std::int64_t width = runs_.dimensions[0].size;
    const std::int64_t rows = runs_.elements / width;
    const auto n = static_cast<std::size_t>(width);
    std::vector<float> members(grid_members * n);
    vector_.make_grids(reinterpret_cast<const double*>(encodings_.encodings.data()), 1, n,
                       static_cast<double>(encodings_.spec.steps()), members.data(), n);
    const auto loop = half_up_ ? vector_.gradient_half_up_columns : vector_.gradient_half_even_columns;
    const std::int64_t shares = std::clamp<std::int64_t>(runs_.elements / grain, 1, std::min(rows, most_shares));
    std::vector<double> parts(2 * n * static_cast<std::size_t>(shares));
    device_.parallel(shares, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t share = begin; share < end; ++share) {
        double* scale = parts.data() + 2 * n * static_cast<std::size_t>(share);
        // Rows of half types come in pieces, and those may begin anywhere in a row.
        const std::int64_t first = rows * share / shares * width;
        const std::int64_t count = rows * (share + 1) / shares * width - first;
        floats(first, count,
               [&](const float* in, const float* gradient, float* out, std::int64_t at, std::int64_t some) {
                 while (some > 0) {
                   const std::int64_t column = at % width;
                   const std::int64_t whole = column == 0 ? some / width : 0;
                   const std::int64_t across = whole > 0 ? width : std::min(width - column, some);
                   const std::int64_t done = std::max<std::int64_t>(whole, 1) * across;
                   const Grids grids{members.data() + column, n, static_cast<float>(encodings_.spec.steps()), false};
                   loop(in, gradient, out, static_cast<std::size_t>(std::max<std::int64_t>(whole, 1)), n,
                        static_cast<std::size_t>(across), grids, scale + column, scale + n + column);
                   in += done;
                   gradient += done;
                   out += done;
                   at += done;
                   some -= done;
                 }
               });
      }
    });
    for (std::int64_t share = 0; share < shares; ++share) {
      const double* scale = parts.data() + 2 * n * static_cast<std::size_t>(share);
      for (std::size_t i = 0; i < n; ++i) scale_[i] += scale[i];
      for (std::size_t i = 0; i < n; ++i) offset_[i] += scale[n + i];
    }
  }

  Device& device_;
  const VectorKernels& vector_;
  const Tensor& input_;
  const Tensor& gradient_;
  Tensor result_;
  const TensorEncodings& encodings_;
  bool half_up_;
  GridRuns runs_;
  std::vector<Grid> grids_;
  std::vector<double> scale_;
  std::vector<double> offset_;
};

}  // namespace

void check_gradient(const Tensor& input, const Tensor& gradient, const TensorEncodings& encodings) {
  const auto fail = [&](ErrorKind kind, const std::string& message) {
    throw Error(kind, fmt::format("gradient of the quantizer of '{}': {}", encodings.tensor, message));
  };
  if (encodings.spec.format != NumberFormat::integer)
    fail(ErrorKind::unsupported, "only integer grids have one here, not float formats");
  if (!is_quantizable(input.type()))
    fail(ErrorKind::data, fmt::format("a tensor of type {} is not quantized", name_of(input.type())));
  if (gradient.type() != input.type() || gradient.shape() != input.shape() || gradient.layout() != input.layout())
    fail(ErrorKind::data,
         fmt::format("the result's is {} of shape {}, but the input is {} of shape {}, and both need one "
                     "layout",
                     name_of(gradient.type()), gradient.shape().text(), name_of(input.type()), input.shape().text()));
}

QuantizeGradient in_order_of_encodings(Tensor input, const GridRuns& runs, std::span<const double> scale,
                                       std::span<const double> offset) {
  QuantizeGradient result{std::move(input), std::vector<double>(scale.size()), std::vector<double>(offset.size())};
  for (std::size_t grid = 0; grid < scale.size(); ++grid) {
    const auto encoding = static_cast<std::size_t>(runs.encoding_of(static_cast<std::int64_t>(grid)));
    result.scale[encoding] = scale[grid];
    result.offset[encoding] = offset[grid];
  }
  return result;
}

QuantizeGradient quantize_gradient(Device& device, const Tensor& input, const Tensor& gradient,
                                   const TensorEncodings& encodings, Rounding rounding) {
  check_gradient(input, gradient, encodings);
  return Gradient(device, input, gradient, encodings, rounding).run();
}

}  // namespace tare::cpu
