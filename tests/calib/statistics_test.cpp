// Statistics do not depend on order, chunking or sharding, and their files survive nothing but honest bytes.
#include <gmock/gmock.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <vector>

#include "tare/calibration.hpp"
#include "tare/error.hpp"
#include "tare/numerics.hpp"

namespace tare {
namespace {

std::vector<float> values_with_everything() {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(5000);
  for (float& value : values) value = normal(random);
  for (int i = 0; i < 40; ++i) values[static_cast<std::size_t>(i) * 7] = i % 2 == 0 ? 0.0f : -0.0f;
  values[100] = std::numeric_limits<float>::quiet_NaN();
  values[101] = std::numeric_limits<float>::infinity();
  values[102] = -std::numeric_limits<float>::infinity();
  values[103] = values[104] = values[4000] = 9;
  values[106] = values[3001] = -8;
  values[108] = 1e-42f;
  return values;
}

class StatisticsFileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("tare_statistics_" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  static std::string bytes_of_file(const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  static void write(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  }

  static StatisticsFile example() {
    StatisticsFile file;
    file.fingerprint = {"0.1.0", "model-hash", "data-hash", "32 samples a batch", "weights-hash", false};
    file.samples = 320;
    file.tensors.push_back({"b", observe_values(values_with_everything())});
    file.tensors.push_back({"a", {}});
    file.tensors.push_back({"c", observe_values(std::vector<float>(10, 0.0f))});
    return file;
  }

  std::filesystem::path folder_;
};

TEST(Statistics, CountEverythingExactly) {
  const std::vector<float> values = values_with_everything();
  const TensorStatistics statistics = observe_values(values);
  EXPECT_EQ(statistics.count, 5000u);
  EXPECT_EQ(statistics.nan_count, 1u);
  EXPECT_EQ(statistics.nonfinite_count(), 3u);
  EXPECT_EQ(statistics.zero_count, static_cast<std::uint64_t>(std::count(values.begin(), values.end(), 0.0f)));
  EXPECT_EQ(statistics.max, 9);
  EXPECT_EQ(statistics.max_count, 3u);
  EXPECT_EQ(statistics.min_count, 2u);
  std::uint64_t total = statistics.zero_count + statistics.nonfinite_count();
  for (const auto& [bin, count] : statistics.bins) total += count;
  EXPECT_EQ(total, statistics.count);
}

TEST(Statistics, OrderChunksAndShardsChangeNothing) {
  std::vector<float> values = values_with_everything();
  const TensorStatistics whole = observe_values(values);
  std::mt19937 random(2);
  for (const std::size_t chunk : {1u, 7u, 1000u, 5000u}) {
    std::shuffle(values.begin(), values.end(), random);
    TensorStatistics sum;
    for (std::size_t begin = 0; begin < values.size(); begin += chunk)
      sum.merge(observe_values(std::span(values).subspan(begin, std::min(chunk, values.size() - begin))));
    EXPECT_EQ(sum, whole);
    EXPECT_EQ(find_encoding(sum, {}), find_encoding(whole, {}));
  }
  EXPECT_EQ(find_encoding(whole, {}), find_encoding(whole, {}));
}

TEST(Statistics, TiedSitesShareTheirValues) {
  const TensorStatistics a = observe_values(std::vector<float>{-1, 0, 2});
  const TensorStatistics b = observe_values(std::vector<float>{-3, 1});
  const std::vector<const TensorStatistics*> tied = {&a, &b};
  EXPECT_EQ(merge_tied(tied), observe_values(std::vector<float>{-1, 0, 2, -3, 1}));
}

TEST(Statistics, WhatCannotBeMergedIsRefused) {
  TensorStatistics a = observe_values(std::vector<float>{1, 2});
  TensorStatistics extremes = a;
  extremes.bins.clear();
  EXPECT_THROW(a.merge(extremes), Error);
  TensorStatistics ordered = a;
  ordered.tf_enhanced.emplace();
  EXPECT_THROW(a.merge(ordered), Error);
}

TEST_F(StatisticsFileTest, ComesBackTheSame) {
  StatisticsFile file = example();
  save_statistics(path("x.stats"), file);
  StatisticsFile loaded = load_statistics(path("x.stats"));
  std::sort(file.tensors.begin(), file.tensors.end(), [](const auto& a, const auto& b) { return a.tensor < b.tensor; });
  EXPECT_EQ(loaded, file);
  save_statistics(path("y.stats"), loaded);
  EXPECT_EQ(bytes_of_file(path("x.stats")), bytes_of_file(path("y.stats")));
  file.tensors[0].statistics.tf_enhanced.emplace();
  EXPECT_THROW(save_statistics(path("z.stats"), file), Error);
  EXPECT_THROW(load_statistics(path("missing.stats")), Error);
}

TEST_F(StatisticsFileTest, EveryTruncationAndEveryFlippedByteIsAnError) {
  save_statistics(path("x.stats"), example());
  const std::string bytes = bytes_of_file(path("x.stats"));
  for (std::size_t size = 0; size < bytes.size(); size += size < 200 ? 1 : 97) {
    write(path("cut.stats"), bytes.substr(0, size));
    EXPECT_THROW(load_statistics(path("cut.stats")), Error) << size;
  }
  for (std::size_t i = 0; i < bytes.size(); i += i < 200 ? 1 : 97) {
    std::string wrong = bytes;
    wrong[i] = static_cast<char>(wrong[i] ^ 0x55);
    write(path("wrong.stats"), wrong);
    EXPECT_THROW(load_statistics(path("wrong.stats")), Error) << i;
  }
}

TEST_F(StatisticsFileTest, ForgedContentsAreRefusedOrUsable) {
  StatisticsFile file = example();
  file.tensors[0].statistics = observe_values(std::vector<float>{-1e9f, -3, -1, 0, 1e-42f, 2, 70000});
  save_statistics(path("x.stats"), file);
  const std::string bytes = bytes_of_file(path("x.stats"));
  std::mt19937 random(3);
  for (int round = 0; round < 1500; ++round) {
    std::string forged = bytes.substr(0, bytes.size() - 4);
    const std::size_t at = 12 + random() % (forged.size() - 12);
    forged[at] = static_cast<char>(round % 3 == 0 ? 0xff : random());
    const uLong crc = crc32(0, reinterpret_cast<const Bytef*>(forged.data()), static_cast<uInt>(forged.size()));
    for (int shift = 0; shift < 32; shift += 8) forged.push_back(static_cast<char>((crc >> shift) & 0xffu));
    write(path("forged.stats"), forged);
    try {
      for (const NamedStatistics& named : load_statistics(path("forged.stats")).tensors)
        for (const Scheme scheme : {Scheme::min_max, Scheme::sqnr, Scheme::percentile, Scheme::entropy}) {
          SearchOptions options;
          options.scheme = scheme;
          EXPECT_GT(find_encoding(named.statistics, {}, options).scale, 0);
        }
    } catch (const Error&) {
    }
  }
}

TEST_F(StatisticsFileTest, ShardsAddUpInAnyOrder) {
  StatisticsFile a = example();
  StatisticsFile b = example();
  b.fingerprint.data = "other-data";
  StatisticsFile ab = a;
  merge(ab, b);
  StatisticsFile ba = b;
  merge(ba, a);
  EXPECT_EQ(ab, ba);
  EXPECT_EQ(ab.samples, 640u);
  b.fingerprint.batch_grouping = "16 samples a batch";
  try {
    merge(a, b);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("some are of 32 samples a batch, others of 16 samples a batch;"));
  }
  b = example();
  b.tensors.pop_back();
  EXPECT_THROW(merge(a, b), Error);
}

/// Three shards in every order are the data that they were cut from; until all are there, they say which.
TEST_F(StatisticsFileTest, ShardsNameTheirData) {
  std::vector<StatisticsFile> shards(3, example());
  for (std::size_t i = 0; i < 3; ++i) shards[i].fingerprint.data = "abc#" + std::to_string(i + 1) + "/3";
  shards[2].fingerprint.batch_grouping = "a smaller batch at the end";
  std::vector<std::size_t> order = {0, 1, 2};
  do {
    StatisticsFile sum = shards[order[0]];
    merge(sum, shards[order[1]]);
    EXPECT_THROW(require_all_shards(sum.fingerprint), Error);
    merge(sum, shards[order[2]]);
    EXPECT_NO_THROW(require_all_shards(sum.fingerprint));
    EXPECT_EQ(sum.fingerprint.data, "abc");
    EXPECT_EQ(sum.fingerprint.batch_grouping, shards[0].fingerprint.batch_grouping);
    EXPECT_EQ(sum.samples, 3 * shards[0].samples);
    StatisticsFile more = example();
    more.fingerprint.data = "xyz";
    merge(sum, more);
    EXPECT_EQ(sum.fingerprint.data, "abc+xyz");
    EXPECT_NO_THROW(require_all_shards(sum.fingerprint));
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_F(StatisticsFileTest, WhatWouldCountTwiceIsRefused) {
  const auto complaint = [&](const std::string& into, const std::string& other) -> std::string {
    StatisticsFile a = example(), b = example();
    a.fingerprint.data = into;
    b.fingerprint.data = other;
    try {
      merge(a, b);
      require_all_shards(a.fingerprint);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  using testing::HasSubstr;
  EXPECT_THAT(complaint("a", "b"), HasSubstr("no error"));
  EXPECT_THAT(complaint("a", "a"), HasSubstr("two were taken from the same data"));
  EXPECT_THAT(complaint("a#1/3", "b+a#1/3"), HasSubstr("shard 1/3 is there twice"));
  EXPECT_THAT(complaint("a#1/3", "a#2/4"), HasSubstr("into 3 and into 4 shards, which overlap"));
  EXPECT_THAT(complaint("a", "a#1/2"), HasSubstr("a shard of data that others were taken from as a whole"));
  EXPECT_THAT(complaint("a#2/4", "b"), HasSubstr("shards 1, 3, 4 of 4 are missing"));
  EXPECT_THAT(complaint("a#2/2", "b"), HasSubstr("shard 1 of 2 is missing"));
  EXPECT_THAT(complaint("a#5/2", "b"), HasSubstr("names no shard"));
}

TEST_F(StatisticsFileTest, FingerprintsGuardTheirUse) {
  const Fingerprint stored = example().fingerprint;
  Fingerprint current = stored;
  EXPECT_NO_THROW(require_same_origin(stored, current, "x.stats"));
  current.weight_encodings = "other";
  EXPECT_THROW(require_same_origin(stored, current, "x.stats"), Error);
  Fingerprint float_weights = stored;
  float_weights.float_weights = true;
  EXPECT_NO_THROW(require_same_origin(float_weights, current, "x.stats"));
  current.model = "other";
  EXPECT_THROW(require_same_origin(float_weights, current, "x.stats"), Error);
}

}  // namespace
}  // namespace tare
