// TfIdfVectorizer: counts the n-grams of a pool in each row, with up to max_skip_count elements between
// neighbours, and weighs the counts.
// Odd: strings are numbered by their place in the pool first, so that one code counts both. 1-grams are counted once,
// at no skip: a skip changes nothing about them.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "cpu/arguments.hpp"
#include "cpu/signal.hpp"

namespace tare::cpu {
namespace {

using Gram = std::vector<std::int64_t>;

/// The n-grams of lengths [shortest, longest] in the pool, and the output column of each.
std::map<Gram, std::int64_t> read_pool(const Call& call, const std::vector<std::int64_t>& pool, std::int64_t shortest,
                                       std::int64_t longest, const std::vector<std::int64_t>& columns) {
  const std::vector<std::int64_t> starts = call.node.integers("ngram_counts");
  std::map<Gram, std::int64_t> grams;
  std::size_t next = 0;
  for (std::size_t n = 0; n < starts.size(); ++n) {
    const std::int64_t end = n + 1 < starts.size() ? starts[n + 1] : static_cast<std::int64_t>(pool.size());
    const auto length = static_cast<std::int64_t>(n) + 1;
    if (starts[n] < 0 || end < starts[n] || end > static_cast<std::int64_t>(pool.size()) ||
        (end - starts[n]) % length != 0)
      call.fail(fmt::format("ngram_counts do not cut the pool of {} in whole {}-grams", pool.size(), length));
    for (std::int64_t at = starts[n]; at < end; at += length, ++next) {
      if (next >= columns.size()) call.fail("ngram_indexes are fewer than the n-grams of the pool");
      if (length >= shortest && length <= longest)
        grams[Gram(pool.begin() + at, pool.begin() + at + length)] = columns[next];
    }
  }
  return grams;
}

void count_grams(const std::vector<std::int64_t>& row, const std::map<Gram, std::int64_t>& grams, std::int64_t shortest,
                 std::int64_t longest, std::int64_t most_skipped, float* counts) {
  const auto size = static_cast<std::int64_t>(row.size());
  Gram gram;
  for (std::int64_t skipped = 0; skipped <= most_skipped; ++skipped)
    for (std::int64_t length = shortest; length <= longest; ++length) {
      if (length == 1 && skipped > 0) continue;
      const std::int64_t reach = (length - 1) * (skipped + 1);
      for (std::int64_t start = 0; start + reach < size; ++start) {
        gram.clear();
        for (std::int64_t i = 0; i < length; ++i)
          gram.push_back(row[static_cast<std::size_t>(start + i * (skipped + 1))]);
        if (const auto found = grams.find(gram); found != grams.end()) counts[found->second] += 1;
      }
    }
}

void tf_idf(Call& call) {
  const Tensor& in = call.input(0);
  if (in.rank() != 1 && in.rank() != 2) call.fail(fmt::format("needs rank 1 or 2, not {}", in.shape().text()));
  const bool texts = call.node.has("pool_strings");
  if (texts ? in.type() != DataType::string : in.type() != DataType::int32 && in.type() != DataType::int64)
    call.fail(fmt::format("counts {}, not {}", texts ? "strings" : "int32 and int64", name_of(in.type())));
  const std::int64_t rows = in.rank() == 2 ? in.shape()[0] : 1;
  const std::int64_t length = in.shape().back();
  const std::string mode = call.node.text("mode");
  if (mode != "TF" && mode != "IDF" && mode != "TFIDF") call.fail(fmt::format("unknown mode '{}'", mode));
  const std::int64_t shortest = call.node.integer("min_gram_length");
  const std::int64_t longest = std::min(call.node.integer("max_gram_length"), std::max<std::int64_t>(length, 1));
  const std::int64_t most_skipped = std::min(call.node.integer("max_skip_count"), length);
  if (shortest < 1) call.fail(fmt::format("min_gram_length of {}", shortest));
  if (most_skipped < 0) call.fail(fmt::format("max_skip_count of {}", most_skipped));
  const std::vector<std::int64_t> columns = call.node.integers("ngram_indexes");
  if (columns.empty()) call.fail("ngram_indexes are missing");
  for (const std::int64_t column : columns)
    if (column < 0 || column >= std::int64_t{1} << 28) call.fail(fmt::format("an n-gram index of {}", column));
  const std::int64_t width = *std::max_element(columns.begin(), columns.end()) + 1;
  const std::vector<float> weights = call.node.reals("weights");
  if (!weights.empty() && weights.size() != columns.size())
    call.fail(fmt::format("{} weights for {} n-grams", weights.size(), columns.size()));
  std::vector<float> weight(static_cast<std::size_t>(width), 1.0f);
  for (std::size_t i = 0; i < weights.size(); ++i) weight[static_cast<std::size_t>(columns[i])] = weights[i];
  std::vector<std::int64_t> pool = call.node.integers("pool_int64s");
  std::vector<std::int64_t> elements;
  if (texts) {
    std::map<std::string, std::int64_t> numbers;
    for (const std::string& text : call.node.texts("pool_strings"))
      pool.push_back(numbers.emplace(text, static_cast<std::int64_t>(numbers.size())).first->second);
    for (const std::string& text : in.span<std::string>()) {
      const auto known = numbers.find(text);
      elements.push_back(known == numbers.end() ? -1 : known->second);
    }
  } else {
    dispatch(in.type(), call, [&]<class T>() {
      for (const T value : in.span<T>()) elements.push_back(static_cast<std::int64_t>(value));
    });
  }
  const std::map<Gram, std::int64_t> grams = read_pool(call, pool, shortest, longest, columns);
  Tensor& out = call.output(0, DataType::float32, in.rank() == 2 ? Shape{rows, width} : Shape{width});
  float* counts = out.mutable_data<float>();
  std::fill_n(counts, out.elements(), 0.0f);
  for (std::int64_t r = 0; r < rows; ++r, counts += width) {
    const std::vector<std::int64_t> row(elements.begin() + r * length, elements.begin() + (r + 1) * length);
    count_grams(row, grams, shortest, longest, most_skipped, counts);
    for (std::int64_t c = 0; c < width; ++c) {
      const float scale = weight[static_cast<std::size_t>(c)];
      if (mode == "TFIDF") counts[c] *= scale;
      if (mode == "IDF") counts[c] = counts[c] > 0 ? scale : 0.0f;
    }
  }
}

}  // namespace

void register_tf_idf(OperatorTable& table) {
  table.add("TfIdfVectorizer", Operator{.function = checked<tf_idf>, .objects = true});
}

}  // namespace tare::cpu
