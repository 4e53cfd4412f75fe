// Attention. A block has some queries of one head and goes through the keys a tile at a time; scores never leave it: a
// row's maximum and sum are mended as it goes. Sums are float32, by fused products, the exponential is that of the
// device: next to the products of the library these differ from the host's in the last bits. Odd: a query whose keys
// are all masked gives NaN (0 / 0), as on the host. Many features, and scores that are asked for, take a row at a time.
#include <cmath>
#include <limits>

#include "cpu/attention.hpp"
#include "cpu/strided_copy.hpp"
#include "float_element.hpp"
#include "operators.hpp"
#include "tare/elementary.hpp"

namespace tare::cuda {
namespace {

using View = cpu::AttentionView;

/// e^x for x <= 0.
__device__ inline float power(float x) { return exp2f(x * 1.44269504f); }

struct Attention {
  View view;  ///< `key` and `value` are those of past and new positions together
  FloatInput query, key, value;
  const void* mask = nullptr;
  const std::int64_t* lengths = nullptr;
  FloatOutput result;
  float scale = 1;

  /// What a query's scores meet: the first element of its mask, and the keys from which on none counts.
  struct Row {
    std::int64_t mask;
    int end;
  };
  __device__ Row row(std::int64_t b, std::int64_t h, std::int64_t q) const {
    return {view.mask.first(b, h, q), static_cast<int>(view.end(b, q, lengths))};
  }
  /// A product with what is added to it.
  __device__ float masked(float score, const Row& row, int k) const {
    const cpu::AttentionMask& m = view.mask;
    const float nothing = -elementary::infinity;
    if (m.present && k < m.keys) {
      const std::int64_t at = row.mask + (m.key != 0 ? k : 0);
      score += m.boolean ? (static_cast<const bool*>(mask)[at] ? 0.0f : nothing) : load_float(mask, at, query.type);
    }
    return k < row.end ? score : score + nothing;
  }
  __device__ static float capped(float score, float cap) { return elementary::tanh(score / cap) * cap; }
};

constexpr int lines = 8;  ///< threads that share four queries
constexpr int padding = 4;

/// Tiles of at most `size` features; a thread has four queries, with `keys / 8` keys at a time and `size / 8` features
/// of the result.
template <int size, int queries, int keys>
__global__ void __launch_bounds__(queries / 4 * lines) attention_kernel(const __grid_constant__ Attention a) {
  constexpr int threads = queries / 4 * lines;
  constexpr int own_keys = keys / lines;
  constexpr int fours = size / 4 / lines;
  __shared__ __align__(16) float query_tile[size][queries + padding];
  __shared__ __align__(16) float key_tile[size][keys + padding];
  __shared__ __align__(16) float value_tile[keys][size];
  __shared__ __align__(16) float score_tile[keys][queries + padding];  // first what is added to them
  __shared__ float key_mask[keys];
  const View& view = a.view;
  const auto thread = static_cast<int>(threadIdx.x);
  const std::int64_t blocks = (view.queries + queries - 1) / queries;
  const std::int64_t b = blockIdx.x / blocks / view.heads;
  const std::int64_t h = blockIdx.x / blocks % view.heads;
  const std::int64_t first = blockIdx.x % blocks * queries;
  const std::int64_t key_head = h / view.heads_a_key;
  const auto features = static_cast<int>(view.features);
  const auto value_features = static_cast<int>(view.value_features);
  for (int i = thread; i < queries * size; i += threads) {
    const int row = i / size;
    const int d = i % size;
    const bool inside = first + row < view.queries && d < features;
    query_tile[d][row] = inside ? a.query[view.query.at(b, h, first + row) + d] * a.scale : 0.0f;
  }
  const int own = thread / lines * 4;  // the first of four queries
  const int line = thread % lines;
  const std::int64_t last = min(first + queries, view.queries) - 1;
  float best[4], sum[4];
  float out[fours][4][4] = {};  // [four features][query][feature]
  TARE_UNROLL for (int i = 0; i < 4; ++i) {
    best[i] = -elementary::infinity;
    sum[i] = 0;
  }
  const auto all_keys = static_cast<int>(view.keys);
  const int end = view.softcap > 0 ? all_keys : a.row(b, h, last).end;  // a cap lets masked scores count
  const bool queries_agree = !view.causal && (!view.mask.present || view.mask.query == 0);
  const auto mask_of = [&](std::int64_t query, int k) {
    return k < all_keys ? a.masked(0.0f, a.row(b, h, min(query, last)), k) : -elementary::infinity;
  };
  for (int begin = 0; begin < end; begin += keys) {
    __syncthreads();  // the tile before has been read
    for (int i = thread; i < keys * size; i += threads) {
      const int row = i / size;
      const int d = i % size;
      const bool inside = begin + row < all_keys;
      key_tile[d][row] = inside && d < features ? a.key[view.key.at(b, key_head, begin + row) + d] : 0.0f;
      value_tile[row][d] = inside && d < value_features ? a.value[view.value.at(b, key_head, begin + row) + d] : 0.0f;
    }
    if (queries_agree) {
      if (thread < keys) key_mask[thread] = mask_of(first, begin + thread);
    } else {
      TARE_NO_UNROLL for (int i = thread; i < keys * queries; i += threads) {
        score_tile[i % keys][i / keys] = mask_of(first + i / keys, begin + i % keys);
      }
    }
    __syncthreads();
    float score[4][own_keys] = {};
#pragma unroll 4
    for (int d = 0; d < features; ++d) {
      const float4 q = *reinterpret_cast<const float4*>(&query_tile[d][own]);
      TARE_UNROLL for (int j = 0; j < own_keys; ++j) {
        const float k = key_tile[d][line * own_keys + j];
        score[0][j] = fmaf(q.x, k, score[0][j]);
        score[1][j] = fmaf(q.y, k, score[1][j]);
        score[2][j] = fmaf(q.z, k, score[2][j]);
        score[3][j] = fmaf(q.w, k, score[3][j]);
      }
    }
    TARE_UNROLL for (int j = 0; j < own_keys; ++j) {
      const float* of_queries = &score_tile[line * own_keys + j][own];
      TARE_UNROLL for (int i = 0; i < 4; ++i) {
        score[i][j] += queries_agree ? key_mask[line * own_keys + j] : of_queries[i];
      }
    }
    if (view.softcap > 0) {  // in a loop that is not unrolled: few models have one
      const auto put = [&](bool back) {
        TARE_UNROLL for (int j = 0; j < own_keys; ++j) {
          TARE_UNROLL for (int i = 0; i < 4; ++i) {
            float& kept = score_tile[line * own_keys + j][own + i];
            if (back)
              score[i][j] = kept;
            else
              kept = score[i][j];
          }
        }
      };
      put(false);
      TARE_NO_UNROLL for (int i = 0; i < 4 * own_keys; ++i) {
        const int k = line * own_keys + i / 4;
        float& kept = score_tile[k][own + i % 4];
        if (begin + k < all_keys) kept = Attention::capped(kept, view.softcap);
      }
      put(true);
    }
    float factor[4];
    TARE_UNROLL for (int i = 0; i < 4; ++i) {
      float highest = best[i];
      TARE_UNROLL for (int j = 0; j < own_keys; ++j) highest = score[i][j] > highest ? score[i][j] : highest;
      TARE_UNROLL for (int distance = lines / 2; distance > 0; distance /= 2) {
        const float other = __shfl_xor_sync(~0u, highest, distance);
        highest = other > highest ? other : highest;
      }
      const float shift = highest == -elementary::infinity ? 0.0f : highest;  // nothing yet
      factor[i] = power(best[i] - shift);
      best[i] = highest;
      sum[i] *= factor[i];
      TARE_UNROLL for (int j = 0; j < own_keys; ++j) {
        score[i][j] = power(score[i][j] - shift);
        sum[i] += score[i][j];
      }
    }
    TARE_UNROLL for (int j = 0; j < own_keys; ++j) {
      *reinterpret_cast<float4*>(&score_tile[line * own_keys + j][own]) =
          float4{score[0][j], score[1][j], score[2][j], score[3][j]};
    }
    __syncwarp();  // who shares queries is of one warp
    TARE_UNROLL for (int f = 0; f < fours; ++f) {
      TARE_UNROLL for (int i = 0; i < 4; ++i) { TARE_UNROLL for (int n = 0; n < 4; ++n) out[f][i][n] *= factor[i]; }
    }
#pragma unroll 4
    for (int k = 0; k < keys; ++k) {
      const float4 p = *reinterpret_cast<const float4*>(&score_tile[k][own]);
      TARE_UNROLL for (int f = 0; f < fours; ++f) {
        const float4 v = *reinterpret_cast<const float4*>(&value_tile[k][(f * lines + line) * 4]);
        const float of[4] = {v.x, v.y, v.z, v.w};
        TARE_UNROLL for (int n = 0; n < 4; ++n) {
          out[f][0][n] = fmaf(p.x, of[n], out[f][0][n]);
          out[f][1][n] = fmaf(p.y, of[n], out[f][1][n]);
          out[f][2][n] = fmaf(p.z, of[n], out[f][2][n]);
          out[f][3][n] = fmaf(p.w, of[n], out[f][3][n]);
        }
      }
    }
  }
  TARE_UNROLL for (int i = 0; i < 4; ++i) {
    TARE_UNROLL for (int distance = lines / 2; distance > 0; distance /= 2) {
      sum[i] += __shfl_xor_sync(~0u, sum[i], distance);
    }
    const float scale = 1.0f / sum[i];
    const bool is_none = view.fills && !(sum[i] > 0);
    TARE_UNROLL for (int f = 0; f < fours; ++f) {
      TARE_UNROLL for (int n = 0; n < 4; ++n) out[f][i][n] = is_none ? 0.0f : out[f][i][n] * scale;
    }
  }
  // By way of shared memory, so that neighbours write neighbours.
  __syncthreads();
  float* const results = &query_tile[0][0];
  TARE_UNROLL for (int f = 0; f < fours; ++f) {
    TARE_UNROLL for (int i = 0; i < 4; ++i) {
      *reinterpret_cast<float4*>(results + (own + i) * size + (f * lines + line) * 4) =
          float4{out[f][i][0], out[f][i][1], out[f][i][2], out[f][i][3]};
    }
  }
  __syncthreads();
  for (int i = thread; i < queries * size; i += threads) {
    const std::int64_t query = first + i / size;
    const int d = i % size;
    if (query < view.queries && d < value_features) a.result.set(view.result.at(b, h, query) + d, results[i]);
  }
}

template <int size, int queries, int keys>
void launch_tiles(const Attention& a, StreamView stream) {
  const std::int64_t blocks = a.view.batch * a.view.heads * ((a.view.queries + queries - 1) / queries);
  launch(attention_kernel<size, queries, keys>, static_cast<unsigned>(blocks), queries / 4 * lines, 0, stream, a);
  TARE_CUDA_CHECK_LAUNCH("attention_kernel");
}

/// A team has a query; its scores lie in device memory.
struct AttentionRow {
  Attention a;
  float* scores;
  FloatOutput shown;

  __device__ void operator()(std::int64_t row, const Team& team) const {
    const View& view = a.view;
    const std::int64_t q = row % view.queries;
    const std::int64_t h = row / view.queries % view.heads;
    const std::int64_t b = row / view.queries / view.heads;
    const std::int64_t query = view.query.at(b, h, q);
    const Attention::Row limits = a.row(b, h, q);
    float* const own = scores + row * view.keys;
    float best = -elementary::infinity;
    for (int k = team.thread; k < view.keys; k += team.size) {
      const std::int64_t key = view.key.at(b, h / view.heads_a_key, k);
      float x = 0;
      for (std::int64_t d = 0; d < view.features; ++d) x = fmaf(a.query[query + d] * a.scale, a.key[key + d], x);
      show(View::Scores::products, row, k, x);
      x = a.masked(x, limits, k);
      show(View::Scores::masked, row, k, x);
      if (view.softcap > 0) x = Attention::capped(x, view.softcap);
      show(View::Scores::capped, row, k, x);
      own[k] = x;
      best = x > best || x != x ? x : best;
    }
    best = team.maximum(best);
    double sum = 0;
    for (std::int64_t k = team.thread; k < view.keys; k += team.size) {
      own[k] = elementary::exp(own[k] - best);
      sum += static_cast<double>(own[k]);
    }
    const double all = team.sum(sum);
    const bool is_none = view.fills && !(all > 0);
    const auto factor = static_cast<float>(1.0 / all);
    for (std::int64_t k = team.thread; k < view.keys; k += team.size) {
      own[k] = is_none ? 0.0f : own[k] * factor;
      show(View::Scores::softmax, row, k, own[k]);
    }
    team.barrier();
    const std::int64_t to = view.result.at(b, h, q);
    for (std::int64_t d = team.thread; d < view.value_features; d += team.size) {
      float x = 0;
      for (std::int64_t k = 0; k < view.keys; ++k)
        x = fmaf(own[k], a.value[view.value.at(b, h / view.heads_a_key, k) + d], x);
      a.result.set(to + d, x);
    }
  }

 private:
  __device__ void show(View::Scores stage, std::int64_t row, std::int64_t k, float x) const {
    if (shown.present() && stage == a.view.scores) shown.set(row * a.view.keys + k, x);
  }
};

void attention(Call& call) {
  View view = cpu::attention_view(call);
  const DataType type = call.input(0).type();
  if (!is_quantizable(type)) call.fail("takes floating-point tensors, not " + std::string(name_of(type)));
  // The kernel reads operands wherever they lie, but past and new positions as one.
  const auto operand = [&](std::size_t input, std::size_t cache, std::size_t present, cpu::HeadStrides& strides,
                           std::int64_t features) {
    if (view.past == 0 && !call.wants(present)) return call.input(input);
    const Shape shape{view.batch, view.key_heads, view.keys, features};
    const Tensor tensor = cpu::in_order(call, input, cache, view.past, strides, shape);
    strides = cpu::dense_heads(shape);
    return tensor;
  };
  const Tensor keys = operand(View::key_input, View::past_key_input, 1, view.key, view.features);
  const Tensor values = operand(View::value_input, View::past_value_input, 2, view.value, view.value_features);
  if (call.wants(1)) call.outputs[1] = keys;
  if (call.wants(2)) call.outputs[2] = values;
  Tensor& result = call.output(0, type, cpu::attention_shape(call, view));
  Tensor shown;
  if (call.wants(3)) shown = call.output(3, type, {view.batch, view.heads, view.queries, view.keys});
  if (result.elements() == 0) return;
  if (std::max(view.keys, view.rows()) > std::numeric_limits<int>::max())
    call.fail(cuda::joined("scores of ", view.rows(), " queries and ", view.keys, " keys"));
  if (view.keys == 0) {
    const std::uint32_t zero = 0;
    return cpu::fill(call.device, size_of(type), &zero, result.mutable_data(), result.elements());
  }
  Attention a{view,   call.input(View::query_input), keys, values, nullptr, nullptr,
              result, static_cast<float>(view.scale)};
  if (view.mask.present) a.mask = call.input(View::mask_input).data();
  if (call.has(View::lengths_input)) a.lengths = call.input(View::lengths_input).data<std::int64_t>();
  const std::int64_t widest = std::max(view.features, view.value_features);
  if (shown.present() || widest > 128) {
    Tensor scores = call.device.allocate(DataType::float32, {view.rows(), view.keys});
    return for_each_row(
        view.rows(), view.keys, stream_of(call),
        AttentionRow{a, scores.mutable_data<float>(), shown.present() ? FloatOutput(shown) : FloatOutput()});
  }
  if (widest <= 32)
    launch_tiles<32, 64, 32>(a, stream_of(call));
  else if (widest <= 64)
    launch_tiles<64, 64, 32>(a, stream_of(call));
  else
    launch_tiles<128, 32, 16>(a, stream_of(call));
}

}  // namespace

void register_attention(OperatorTable& table) {
  constexpr Places places{.device = 1u << View::mask_input | 1u << View::lengths_input};
  table.add("Attention", cpu::checked<attention, 3>, cpu::Half::native, places);
  table.add("tare::Attention", cpu::checked<attention, 3>, cpu::Half::native, places);
}

}  // namespace tare::cuda
