// Datasets: every format gives the batches it should, and data that does not fit the model is named before anything
// runs.
#include <gmock/gmock.h>

#include "archive.hpp"
#include "support.hpp"

namespace tare::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto f32 = DataType::float32;
constexpr auto i64 = DataType::int64;

class DatasetTest : public DataReaders {
 protected:
  void save(const std::string& name, const std::vector<std::pair<std::string, Tensor>>& arrays,
            bool deflated = true) const {
    save_npz(file(name), arrays, deflated);
  }
  std::string refusal(const std::string& name, const Graph& graph, const DataOptions& options = {}) const {
    return error_of(ErrorKind::data, [&] { open_dataset(file(name), graph, options); });
  }
};

std::vector<std::size_t> batch_sizes(Dataset& dataset) {
  std::vector<std::size_t> sizes;
  while (const auto batch = dataset.next()) sizes.push_back(batch->samples);
  dataset.rewind();
  return sizes;
}

/// All values of one input over all batches.
template <class T = float>
std::vector<T> all_values(Dataset& dataset, std::size_t input = 0) {
  std::vector<T> values;
  while (const auto batch = dataset.next()) {
    const auto part = batch->inputs[input].template span<T>();
    values.insert(values.end(), part.begin(), part.end());
  }
  dataset.rewind();
  return values;
}

/// First dimensions that are no batch: tokens beside boxes. Whole batches need no cutting.
TEST_F(DatasetTest, InputsOfOneBatchMayDifferInRows) {
  const Graph graph = graph_with({{"x", f32, Shape{-1, 3}}, {"y", f32, Shape{-1}}});
  save("a.npz", {{"000/x", counting<float>({4, 3})},
                 {"000/y", counting<float>({7})},
                 {"001/x", counting<float>({2, 3})},
                 {"001/y", counting<float>({2})}});
  auto dataset = open_dataset(file("a.npz"), graph, {.samples = 5, .image = {}});
  EXPECT_THAT(batch_sizes(*dataset), ElementsAre(4, 1));
  const auto first = dataset->next();
  EXPECT_EQ(first->inputs[0].shape(), (Shape{4, 3}));
  EXPECT_EQ(first->inputs[1].shape(), (Shape{7}));
  EXPECT_THAT(refusal("a.npz", graph, {.batch_size = 2, .image = {}}),
              AllOf(HasSubstr("input 'y' has 7 rows"), HasSubstr("no batch size")));
}

TEST_F(DatasetTest, PlainArraysAreCutIntoBatches) {
  for (const bool deflated : {false, true}) {
    save("a.npz", {{"x", counting<float>({20, 3})}, {"unused", counting<float>({1})}}, deflated);
    const Graph graph = graph_with({{"x", f32, Shape{-1, 3}}});
    auto dataset = open_dataset(file("a.npz"), graph);
    EXPECT_EQ(dataset->samples(), 20u);
    EXPECT_EQ(dataset->batches(), 3u);
    EXPECT_THAT(dataset->description(), AllOf(HasSubstr("20 samples"), HasSubstr("a.npz")));
    EXPECT_THAT(batch_sizes(*dataset), ElementsAre(8, 8, 4));
    const auto first = values_of<float>(counting<float>({20, 3}));
    EXPECT_EQ(all_values(*dataset), first);
    EXPECT_EQ(all_values(*dataset), first);
    dataset = open_dataset(file("a.npz"), graph, {.samples = 7, .batch_size = 5, .image = {}});
    EXPECT_THAT(batch_sizes(*dataset), ElementsAre(5, 2));
    EXPECT_EQ(dataset->samples(), 7u);
  }
}

/// Shards hold whole batches, all of them together every one, and the data's own fingerprint.
TEST_F(DatasetTest, ShardsPartTheBatches) {
  save("a.npz", {{"x", counting<float>({20, 3})}});
  const Graph graph = graph_with({{"x", f32, Shape{-1, 3}}});
  const auto open = [&](std::size_t index, std::size_t count) {
    return prefetch(open_dataset(file("a.npz"), graph, {.batch_size = 3, .image = {}, .shard = {index, count}}));
  };
  const auto whole = open(1, 1);
  const auto expected = all_values(*whole);
  for (const std::size_t count : {1u, 2u, 3u, 7u}) {
    std::vector<float> values;
    std::size_t samples = 0;
    for (std::size_t index = 1; index <= count; ++index) {
      const auto part = open(index, count);
      EXPECT_EQ(part->fingerprint(), whole->fingerprint());
      EXPECT_EQ(part->shard().index, index);
      EXPECT_EQ(part->shard().count, count);
      const std::vector<std::size_t> sizes = batch_sizes(*part);
      EXPECT_EQ(sizes.size(), part->batches());
      EXPECT_GE(sizes.size(), 7 / count);
      EXPECT_EQ(part->next()->first_sample, samples);
      part->rewind();
      const auto own = all_values(*part);
      EXPECT_EQ(own.size(), 3 * part->samples());
      values.insert(values.end(), own.begin(), own.end());
      samples += part->samples();
    }
    EXPECT_EQ(values, expected);
  }
  EXPECT_THAT(error_of(ErrorKind::usage, [&] { open(1, 8); }), HasSubstr("7 batches cannot be cut into 8 shards"));
  EXPECT_THAT(error_of(ErrorKind::usage, [&] { open(3, 2); }), HasSubstr("no shard 3 of 2"));
}

TEST_F(DatasetTest, AFixedBatchDimensionIsFitted) {
  save("a.npz", {{"x", counting<float>({7, 2})}});
  auto dataset = open_dataset(file("a.npz"), graph_with({{"x", f32, Shape{1, 2}}}),
                              {.samples = 2000, .batch_size = 4, .image = {}});
  EXPECT_EQ(dataset->batches(), 7u);
  EXPECT_EQ(dataset->next()->inputs[0].shape(), (Shape{1, 2}));
  dataset = open_dataset(file("a.npz"), graph_with({{"x", f32, Shape{3, 2}}}));
  EXPECT_THAT(batch_sizes(*dataset), ElementsAre(3, 3));
  EXPECT_THAT(dataset->description(), HasSubstr("1 left out"));
  EXPECT_THAT(refusal("a.npz", graph_with({{"x", f32, Shape{10, 2}}})), HasSubstr("do not make one batch"));
}

TEST_F(DatasetTest, OneRankMoreIsOneFeedAnIndex) {
  save("a.npz",
       {{"x", counting<float>({4, 1, 2})}, {"mask", counting<float>({4, 5})}, {"table", counting<float>({6})}});
  const Graph graph = graph_with({{"x", f32, Shape{1, 2}}, {"mask", f32, Shape{5}}, {"table", f32, Shape{6}}});
  const auto dataset = open_dataset(file("a.npz"), graph);
  EXPECT_EQ(dataset->samples(), 4u);
  dataset->next();
  const auto second = dataset->next();
  EXPECT_THAT(values_of<float>(second->inputs[0]), ElementsAre(2, 3));
  EXPECT_THAT(values_of<float>(second->inputs[1]), ElementsAre(5, 6, 7, 8, 9));
  EXPECT_THAT(values_of<float>(second->inputs[2]), ElementsAre(0, 1, 2, 3, 4, 5));
  save("b.npz",
       {{"x", counting<float>({4, 1, 2})}, {"mask", counting<float>({3, 5})}, {"table", counting<float>({6})}});
  EXPECT_THAT(refusal("b.npz", graph), AllOf(HasSubstr("mask"), HasSubstr("3 samples"), HasSubstr("4")));
}

TEST_F(DatasetTest, AStateGivenOnceGoesIntoEveryBatch) {
  save("a.npz",
       {{"input", counting<float>({10, 2})}, {"h", counting<float>({1, 1, 3})}, {"mask", counting<float>({1, 2})}});
  const Graph graph =
      graph_with({{"input", f32, Shape{-1, 2}}, {"h", f32, Shape{1, 1, 3}}, {"mask", f32, Shape{-1, 2}}});
  const auto dataset = open_dataset(file("a.npz"), graph, {.samples = 2000, .batch_size = 4, .image = {}});
  EXPECT_THAT(batch_sizes(*dataset), ElementsAre(4, 4, 2));
  while (const auto batch = dataset->next()) {
    EXPECT_THAT(values_of<float>(batch->inputs[1]), ElementsAre(0, 1, 2));
    EXPECT_EQ(batch->inputs[2].shape(), (Shape{1, 2}));
  }
}

TEST_F(DatasetTest, NumberedKeysAreBatches) {
  save("a.npz", {{"001/a/b:0", counting<float>({1, 5})},
                 {"000/a/b:0", counting<float>({2, 3})},
                 {"002/a/b:0", counting<float>({1, 5}, 5)}});
  const Graph graph = graph_with({{"a/b:0", f32, Shape{-1, -1}}});
  auto dataset = open_dataset(file("a.npz"), graph);
  EXPECT_THAT(batch_sizes(*dataset), ElementsAre(2, 1, 1));
  EXPECT_EQ(dataset->next()->inputs[0].shape(), (Shape{2, 3}));
  const auto second = dataset->next();
  EXPECT_EQ(second->first_sample, 2u);
  EXPECT_EQ(second->inputs[0].shape(), (Shape{1, 5}));
  dataset = open_dataset(file("a.npz"), graph, {.samples = 2000, .batch_size = 2, .image = {}});
  EXPECT_THAT(batch_sizes(*dataset), ElementsAre(2, 2));
  dataset->next();
  EXPECT_THAT(values_of<float>(dataset->next()->inputs[0]), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
  save("b.npz", {{"000/a/b:0", counting<float>({2, 3})}, {"001/c", counting<float>({1, 5})}});
  EXPECT_THAT(refusal("b.npz", graph), HasSubstr("no key '001/a/b:0'"));
  save("c.npz", {{"1/a/b:0", counting<float>({2, 3})}, {"01/a/b:0", counting<float>({1, 5})}});
  EXPECT_THAT(refusal("c.npz", graph), HasSubstr("c.npz': keys '1/a/b:0' and '01/a/b:0' are the same batch and input"));
  save("d.npz", {{"a/b:0", counting<float>({2, 3})}, {"01/a/b:0", counting<float>({1, 5})}});
  EXPECT_THAT(refusal("d.npz", graph), HasSubstr("d.npz': key '01/a/b:0' is one batch of 'a/b:0', beside keys that"));
  save("e.npz", {{"000/a/b:0", counting<float>({2, 3})},
                 {"001/a/b:0", counting<float>({0, 3})},
                 {"002/a/b:0", counting<float>({1, 3})}});
  EXPECT_THAT(refusal("e.npz", graph), AllOf(HasSubstr("001/a/b:0"), HasSubstr("0 samples")));
}

TEST_F(DatasetTest, BatchesWithStatesAreNotJoined) {
  save("a.npz", {{"000/x", counting<float>({2, 3})},
                 {"000/h", counting<float>({1, 4})},
                 {"001/x", counting<float>({2, 3})},
                 {"001/h", counting<float>({1, 4}, 1)}});
  const auto dataset = open_dataset(file("a.npz"), graph_with({{"x", f32, Shape{-1, 3}}, {"h", f32, Shape{1, 4}}}),
                                    {.samples = 2000, .batch_size = 4, .image = {}});
  EXPECT_THAT(batch_sizes(*dataset), ElementsAre(2, 2));
  EXPECT_EQ(dataset->left_out(), 0u);
  EXPECT_THAT(all_values(*dataset, 1), ElementsAre(0, 1, 2, 3, 1, 2, 3, 4));
}

TEST_F(DatasetTest, RowsThatFillNoBatchDoNotCountAgainstTheLimit) {
  // Lengths differ, so that the batches of two cannot be filled across records.
  save("a.npz", {{"000/x", counting<float>({3, 2})}, {"001/x", counting<float>({3, 5})}});
  const auto dataset = open_dataset(file("a.npz"), graph_with({{"x", f32, Shape{2, -1}}}), {.samples = 4, .image = {}});
  EXPECT_EQ(dataset->samples(), 4u);
  EXPECT_THAT(batch_sizes(*dataset), ElementsAre(2, 2));
}

/// Samples keep the numbers that they have in the data, as labels do; and are left out once, whatever the shards.
TEST_F(DatasetTest, RowsThatFillNoBatchAreCounted) {
  save("a.npz", {{"000/x", counting<float>({3, 2})}, {"001/x", counting<float>({3, 5})}});
  const Graph graph = graph_with({{"x", f32, Shape{2, -1}}});
  const auto open = [&](std::size_t samples, Shard shard) {
    return prefetch(open_dataset(file("a.npz"), graph, {.samples = samples, .image = {}, .shard = shard}));
  };
  const auto whole = open(2000, {});
  EXPECT_EQ(whole->samples(), 4u);
  EXPECT_EQ(whole->left_out(), 2u);
  EXPECT_EQ(whole->next()->first_sample, 0u);
  EXPECT_EQ(whole->next()->first_sample, 3u);
  EXPECT_THAT(whole->description(), HasSubstr("4 samples in 2 batches from a.npz (2 left out"));
  for (const std::size_t index : {1u, 2u}) {
    EXPECT_EQ(open(2000, {index, 2})->samples(), 2u);
    EXPECT_EQ(open(2000, {index, 2})->left_out(), 1u);
  }
  EXPECT_EQ(open(4, {})->left_out(), 1u) << "what lies behind the limit is not left out";
  EXPECT_EQ(open(3, {})->left_out(), 1u) << "the second row of the next record fills no batch below the limit";
}

TEST_F(DatasetTest, TruthValuesAreZeroAndOne) {
  Tensor x = Tensor::host(DataType::boolean, {4});
  const std::uint8_t bytes[] = {0, 1, 2, 255};
  std::copy_n(bytes, 4, x.mutable_data<std::uint8_t>());
  write_npy(file("a.npy"), x);
  const auto dataset = open_dataset(file("a.npy"), graph_with({{"x", DataType::boolean, Shape{-1}}}));
  EXPECT_THAT(all_values<std::uint8_t>(*dataset), ElementsAre(0, 1, 1, 1));
}

TEST_F(DatasetTest, NpyAndConversions) {
  write_npy(file("a.npy"), counting<double>({3, 2}));
  auto dataset = open_dataset(file("a.npy"), graph_with({{"x", f32, Shape{-1, 2}}}));
  EXPECT_THAT(all_values(*dataset), ElementsAre(0, 1, 2, 3, 4, 5));
  write_npy(file("b.npy"), counting<std::int32_t>({3, 2}));
  dataset = open_dataset(file("b.npy"), graph_with({{"x", i64, Shape{-1, 2}}}));
  EXPECT_THAT(all_values<std::int64_t>(*dataset), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(refusal("b.npy", graph_with({{"x", f32, Shape{-1, 2}}})),
              AllOf(HasSubstr("found int32 [3,2]"), HasSubstr("float32 [?,2]"), HasSubstr("astype")));
  EXPECT_THAT(refusal("a.npy", graph_with({{"x", f32, Shape{-1, 2}}, {"y", f32, Shape{-1, 2}}})),
              HasSubstr("2 inputs"));
}

TEST_F(DatasetTest, WhatDoesNotFitIsNamed) {
  save("a.npz", {{"x", counting<float>({4, 3})}, {"y", counting<float>({5, 3})}});
  EXPECT_THAT(refusal("a.npz", graph_with({{"z", f32, Shape{-1, 3}}})),
              AllOf(HasSubstr("no key 'z'"), HasSubstr("'x', 'y'")));
  EXPECT_THAT(refusal("a.npz", graph_with({{"x", f32, Shape{-1, 4}}})),
              AllOf(HasSubstr("a.npz"), HasSubstr("x.npy"), HasSubstr("[4,3]"), HasSubstr("float32 [?,4]")));
  EXPECT_THAT(refusal("a.npz", graph_with({{"x", f32, Shape{-1}}, {"y", f32, Shape{-1, 3}}})), HasSubstr("rows"));
  EXPECT_THAT(refusal("a.npz", graph_with({{"x", f32, Shape{-1, 3, 3}}})), HasSubstr("shape [4,3]"));
  EXPECT_THAT(refusal("a.npz", graph_with({{"x", f32, Shape{-1, 3}}, {"y", f32, Shape{-1, 3}}})),
              AllOf(HasSubstr("'y' has 5"), HasSubstr("'x' has 4")));
  save("empty.npz", {{"x", counting<float>({0, 3})}});
  EXPECT_THAT(refusal("empty.npz", graph_with({{"x", f32, Shape{-1, 3}}})),
              HasSubstr("empty.npz: holds arrays of 0 samples; give at least one"));
  error_of(ErrorKind::io, [&] { open_dataset(file("none.npz"), graph_with({{"x", f32, Shape{1}}})); });
  write("a.dat", "x");
  EXPECT_THAT(refusal("a.dat", graph_with({{"x", f32, Shape{1}}})), HasSubstr("known kind"));
  std::filesystem::create_directory(file("folder"));
  EXPECT_THAT(refusal("folder", graph_with({{"x", f32, Shape{1}}})), HasSubstr("holds no"));
}

TEST_F(DatasetTest, FoldersOfArchivesInOrder) {
  std::filesystem::create_directory(file("d"));
  save("d/b.npz", {{"x", counting<float>({3, 1}, 3)}});
  save("d/a.npz", {{"x", counting<float>({3, 1})}});
  const auto dataset =
      open_dataset(file("d"), graph_with({{"x", f32, Shape{-1, 1}}}), {.samples = 5, .batch_size = 4, .image = {}});
  EXPECT_THAT(batch_sizes(*dataset), ElementsAre(4, 1));
  EXPECT_THAT(all_values(*dataset), ElementsAre(0, 1, 2, 3, 4));
}

std::string raw(const Tensor& tensor) { return {reinterpret_cast<const char*>(tensor.data()), tensor.bytes()}; }

TEST_F(DatasetTest, ListsOfRawFiles) {
  write("r/0.raw", raw(counting<float>({1, 2})));
  write("r/1.raw", raw(counting<float>({1, 2}, 2)));
  write("r/n.raw", raw(counting<std::int64_t>({3})));
  write("list.txt", "# two samples\n% \n\nx:=r/0.raw y:=r/n.raw\r\ny:=r/n.raw x:=r/1.raw\n");
  const Graph two = graph_with({{"x", f32, Shape{1, 2}}, {"y", i64, Shape{-1}}});
  auto dataset = open_dataset(file("list.txt"), two);
  EXPECT_EQ(dataset->batches(), 2u);
  EXPECT_THAT(all_values(*dataset), ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(dataset->next()->inputs[1].shape(), (Shape{3}));
  write("one.txt", "r/0.raw\nr/1.raw\n");
  dataset = open_dataset(file("one.txt"), graph_with({{"x", f32, Shape{-1, 2}}}));
  EXPECT_THAT(batch_sizes(*dataset), ElementsAre(1, 1));

  EXPECT_THAT(refusal("one.txt", graph_with({{"x", f32, Shape{1, 3}}})),
              AllOf(HasSubstr("8 bytes"), HasSubstr("12 bytes")));
  EXPECT_THAT(refusal("one.txt", two), AllOf(HasSubstr("line 1"), HasSubstr("does not say its input")));
  EXPECT_THAT(refusal("one.txt", graph_with({{"x", f32, Shape{-1, -1}}})), HasSubstr("[?,?]"));
  write("bad.txt", "x:=r/0.raw\n");
  EXPECT_THAT(refusal("bad.txt", two), HasSubstr("no file for input 'y'"));
  write("bad.txt", "x:=r/0.raw z:=r/0.raw\n");
  EXPECT_THAT(refusal("bad.txt", two), HasSubstr("no input 'z'"));
  write("bad.txt", "x:=r/0.raw x:=r/0.raw\n");
  EXPECT_THAT(refusal("bad.txt", two), HasSubstr("twice"));
  write("bad.txt", "x:=none.raw y:=r/n.raw\n");
  EXPECT_THAT(error_of(ErrorKind::io, [&] { open_dataset(file("bad.txt"), two); }), HasSubstr("none.raw"));
  write("bad.txt", "# nothing\n");
  EXPECT_THAT(refusal("bad.txt", two), HasSubstr("no samples"));
}

TEST_F(DatasetTest, OnnxTestFolders) {
  // TensorProto: dims (field 1) 1, 2; data_type (2) float; raw_data (9) of 8 bytes.
  const auto tensor = [](float a, float b) {
    return std::string("\x08\x01\x08\x02\x10\x01\x4a\x08", 8) + raw(Tensor::of<float>({2}, std::vector<float>{a, b}));
  };
  write("case/test_data_set_0/input_0.pb", tensor(1, 2));
  write("case/test_data_set_1/input_0.pb", tensor(3, 4));
  const Graph graph = graph_with({{"x", f32, Shape{1, 2}}});
  auto dataset = open_dataset(file("case"), graph);
  EXPECT_THAT(all_values(*dataset), ElementsAre(1, 2, 3, 4));
  dataset = open_dataset(file("case/test_data_set_1"), graph);
  EXPECT_THAT(all_values(*dataset), ElementsAre(3, 4));
  EXPECT_THAT(refusal("case", graph_with({{"x", i64, Shape{1, 2}}})), HasSubstr("input_0.pb"));
  EXPECT_THAT(refusal("case", graph_with({{"x", f32, Shape{1, 2}}, {"y", f32, Shape{1}}})), HasSubstr("'input_1.pb'"));
}

TEST_F(DatasetTest, FingerprintFollowsDataAndGrouping) {
  const Graph graph = graph_with({{"x", f32, Shape{-1, 3}}});
  save("a.npz", {{"x", counting<float>({20, 3})}});
  save("b.npz", {{"x", counting<float>({20, 3}, 1)}});
  std::filesystem::copy(file("a.npz"), file("c.npz"));
  const auto print = [&](const char* name, std::size_t batch) {
    return open_dataset(file(name), graph, {.samples = 2000, .batch_size = batch, .image = {}})->fingerprint();
  };
  EXPECT_EQ(print("a.npz", 0), print("c.npz", 8));
  EXPECT_NE(print("a.npz", 0), print("b.npz", 0));
  EXPECT_NE(print("a.npz", 4), print("a.npz", 8));
}

TEST_F(DatasetTest, ImageOptionsAreForImages) {
  save("a.npz", {{"x", counting<float>({4, 3})}});
  const Graph graph = graph_with({{"x", f32, Shape{-1, 3}}});
  EXPECT_THAT(error_of(ErrorKind::usage, [&] { open_dataset(file("a.npz"), graph, {.image = ImageOptions{}}); }),
              AllOf(HasSubstr("a.npz' holds no images"), HasSubstr("--mean"), HasSubstr("--resize-shorter"),
                    HasSubstr("leave them out")));
}

TEST_F(DatasetTest, AtMostTwoThousandSamplesUnlessAskedForMore) {
  write_npy(file("a.npy"), counting<float>({2100, 1}));
  const Graph graph = graph_with({{"x", f32, Shape{-1, 1}}});
  EXPECT_EQ(open_dataset(file("a.npy"), graph)->samples(), 2000u);
  EXPECT_EQ(all_values(*open_dataset(file("a.npy"), graph)).size(), 2000u);
  EXPECT_EQ(open_dataset(file("a.npy"), graph, {.samples = 3000})->samples(), 2100u);
}

TEST_F(DatasetTest, PrefetchGivesTheSameBatchesAndTheSameError) {
  save("a.npz", {{"x", counting<float>({50, 3})}});
  const Graph graph = graph_with({{"x", f32, Shape{-1, 3}}});
  const auto plain = open_dataset(file("a.npz"), graph);
  const auto ahead = prefetch(open_dataset(file("a.npz"), graph), 3);
  EXPECT_EQ(ahead->fingerprint(), plain->fingerprint());
  EXPECT_EQ(ahead->description(), plain->description());
  const auto all = all_values(*plain);
  EXPECT_EQ(all_values(*ahead), all);
  ahead->next();
  ahead->rewind();
  EXPECT_EQ(all_values(*ahead), all);
  while (ahead->next()) {
  }
  EXPECT_FALSE(ahead->next());

  // The data of the member is damaged: the header is sound, so only reading finds out.
  std::string bytes = bytes_of_file(file("a.npz"));
  save("s.npz", {{"x", counting<float>({50, 3})}}, false);
  bytes = bytes_of_file(file("s.npz"));
  bytes[600] = static_cast<char>(bytes[600] ^ 1);
  write("s.npz", bytes);
  const auto damaged = prefetch(open_dataset(file("s.npz"), graph));
  EXPECT_THAT(error_of(ErrorKind::data,
                       [&] {
                         while (damaged->next()) {
                         }
                       }),
              HasSubstr("checksum"));
}

}  // namespace
}  // namespace tare::test
