// Models written again hold what was read; files appear whole or not at all.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <set>

#include "model/atomic_file.hpp"
#include "support/model_builder.hpp"
#include "tare/model.hpp"

namespace tare {
namespace {

using test::read_bytes;
using test::TemporaryFolder;
using test::write_bytes;

std::size_t entries(const std::filesystem::path& folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

onnx::ModelProto linear_model() {
  onnx::ModelProto model = test::empty_model();
  model.set_producer_name("someone");
  onnx::StringStringEntryProto& note = *model.add_metadata_props();
  note.set_key("author");
  note.set_value("me");
  onnx::GraphProto& graph = *model.mutable_graph();
  test::add_input(graph, "x", {-1, 64});
  test::add_output(graph, "y", {-1, 64});
  std::vector<float> weights(64 * 64);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i);
  test::add_initializer(graph, "w", 1, {64, 64}, weights);
  test::add_initializer(graph, "b", 1, {64}, std::vector<float>(64, 0.5f));
  test::add_node(graph, "MatMul", {"x", "w"}, {"h"}, "mm").set_doc_string("a product");
  test::add_node(graph, "Add", {"h", "b"}, {"y"}, "add");
  return model;
}

TEST(SaveModel, WritesTheMessageThatWasRead) {
  const TemporaryFolder folder;
  const onnx::ModelProto proto = linear_model();
  test::write_model(proto, folder / "in.onnx");
  save_model(load_model(folder / "in.onnx"), folder / "out.onnx");
  onnx::ModelProto again;
  ASSERT_TRUE(again.ParseFromString(test::read_bytes(folder / "out.onnx")));
  EXPECT_EQ(again.SerializeAsString(), proto.SerializeAsString());
  EXPECT_EQ(entries(folder.path()), 2u);
}

TEST(SaveModel, ExternalDataRoundTrips) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "second");
  test::write_model(linear_model(), folder / "in.onnx");
  const Model original = load_model(folder / "in.onnx");
  save_model(original, folder / "out.onnx", {.external_data = true});
  EXPECT_LT(std::filesystem::file_size(folder / "out.onnx"), 2048u);
  const Model external = load_model(folder / "out.onnx");
  // A model with external data is saved with external data, and may replace its own files.
  save_model(external, folder / "second/copy.onnx");
  save_model(external, folder / "out.onnx");
  for (const auto* name : {"out.onnx", "second/copy.onnx"}) {
    const Model again = load_model(folder / name);
    const Tensor& weights = *again.graph.constant(again.graph.find("w"));
    const Tensor& expected = *original.graph.constant(original.graph.find("w"));
    EXPECT_EQ(weights.shape(), expected.shape());
    EXPECT_EQ(std::memcmp(weights.data(), expected.data(), expected.bytes()), 0) << name;
  }
  EXPECT_TRUE(std::filesystem::exists(folder / "second/copy.data"));
}

TEST(SaveModel, FailuresLeaveNothingBehind) {
  const TemporaryFolder folder;
  test::write_model(linear_model(), folder / "in.onnx");
  const Model model = load_model(folder / "in.onnx");
  try {
    save_model(model, folder / "missing/out.onnx");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::io);
    EXPECT_THAT(error.what(), testing::HasSubstr("missing/out.onnx"));
  }
  EXPECT_THROW(save_model(model, folder.path()), Error);
  EXPECT_THROW(save_model(Model{}, folder / "out.onnx"), Error);
  EXPECT_EQ(entries(folder.path()), 1u);
}

TEST(AtomicFile, AFullDiskLeavesTheOldFile) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "file", "old");
  // A limit on file sizes stands in for a full disk: write() fails half way through.
  ::rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  ::rlimit limited = before;
  limited.rlim_cur = 4096;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limited), 0);
  EXPECT_THROW(write_file_atomically(folder / "file", std::string(10000, 'x')), Error);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(test::read_bytes(folder / "file"), "old");
  EXPECT_EQ(entries(folder.path()), 1u);
}

TEST(AtomicFile, AnExceptionLeavesTheOldFile) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "file", "old");
  EXPECT_THROW(write_file_atomically(folder / "file",
                                     [](AtomicFile& file) {
                                       file.write("half");
                                       throw Error(ErrorKind::data, "no more");
                                     }),
               Error);
  EXPECT_EQ(test::read_bytes(folder / "file"), "old");
  EXPECT_EQ(entries(folder.path()), 1u);
  write_file_atomically(folder / "file", "new");
  EXPECT_EQ(test::read_bytes(folder / "file"), "new");
}

TEST(AtomicFile, FilesThatBelongTogetherMoveTogether) {
  const TemporaryFolder folder;
  const auto fill = [&] {
    for (const char* name : {"a.new", "b.new"}) write_bytes(folder / name, name);
    write_bytes(folder / "a", "old");
  };
  fill();
  std::filesystem::create_directory(folder / "full");
  write_bytes(folder / "full" / "file", "in the way");
  const auto names = [&] {
    std::set<std::string> result;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path())) result.insert(entry.path().filename());
    return result;
  };
  const std::set<std::string> before = names();
  // The second cannot be moved: to a missing folder, over a folder, or because it is not there.
  for (const Move& second : {Move{folder / "b.new", folder / "missing" / "b"}, Move{folder / "b.new", folder / "full"},
                             Move{folder / "none.new", folder / "b"}, Move{folder / "none.new", folder / "b.new"}}) {
    try {
      move_all(std::array{Move{folder / "a.new", folder / "a"}, Move{folder / "a", folder / "c"}, second});
      ADD_FAILURE() << second.to;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::io);
      EXPECT_NE(std::string(error.what()).find(second.to.string()), std::string::npos) << error.what();
    }
    EXPECT_EQ(names(), before);
    EXPECT_EQ(read_bytes(folder / "a"), "old");
    EXPECT_EQ(read_bytes(folder / "a.new"), "a.new");
    EXPECT_EQ(read_bytes(folder / "b.new"), "b.new");
  }
  move_all(std::array{Move{folder / "a.new", folder / "a"}, Move{folder / "b.new", folder / "b"}});
  EXPECT_EQ(names(), (std::set<std::string>{"a", "b", "full"}));
  EXPECT_EQ(read_bytes(folder / "a"), "a.new");
}

TEST(AtomicFile, AReadOnlyFolderIsAnError) {
  const TemporaryFolder folder;
  std::filesystem::permissions(folder.path(), static_cast<std::filesystem::perms>(0555));
  constexpr ::uid_t nobody = 65534;
  const bool root = ::geteuid() == 0;  // writes everywhere: be somebody else for a moment
  ASSERT_TRUE(!root || ::seteuid(nobody) == 0);
  std::string message;
  try {
    write_file_atomically(folder / "file", "x");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::io);
    message = error.what();
  }
  ASSERT_TRUE(!root || ::seteuid(0) == 0);
  EXPECT_THAT(message, testing::HasSubstr("Permission denied; check the path and its permissions"));
  std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_all);
  EXPECT_EQ(entries(folder.path()), 0u);
}

TEST(AtomicFile, FollowsLinksAndWritesPipesDirectly) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "file", "old");
  std::filesystem::create_symlink("file", folder / "link");
  write_file_atomically(folder / "link", "new");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_EQ(test::read_bytes(folder / "file"), "new");
  write_file_atomically("/dev/null", "gone");
  EXPECT_FALSE(std::filesystem::is_regular_file("/dev/null"));
}

}  // namespace
}  // namespace tare
