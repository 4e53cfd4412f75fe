// The file that benchmarks on a device leave, whatever ends them.
#include "bench/cuda/figures.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

#include "support/model_builder.hpp"

namespace tare {
namespace {

nlohmann::json read(const std::filesystem::path& file) {
  std::ifstream in(file);
  return nlohmann::json::parse(in);
}

TEST(Figures, SectionThatThrowsCostsNoOther) {
  const test::TemporaryFolder folder;
  bench::Figures figures(folder / "figures.json");
  figures.set("device", "a GPU");
  figures.section("first", [&] { figures.add({{"figure", "one"}, {"ms", 1.5}}); });
  EXPECT_FALSE(figures.has_failed());
  figures.section("second", [&] {
    figures.add({{"figure", "two"}, {"ms", 2.0}});
    throw std::runtime_error("no \"memory\" \xff");  // no UTF-8
  });
  EXPECT_TRUE(figures.has_failed());
  figures.section("third", [&] { figures.add({{"figure", "three"}}); });
  const nlohmann::json found = read(folder / "figures.json");
  EXPECT_EQ(found["device"], "a GPU");
  ASSERT_EQ(found["rows"].size(), 3u);
  EXPECT_EQ(found["rows"][0], (nlohmann::json{{"figure", "one"}, {"ms", 1.5}}));
  EXPECT_EQ(found["rows"][2]["figure"], "three");
  ASSERT_EQ(found["failed"].size(), 1u);
  EXPECT_EQ(found["failed"][0]["section"], "second");
  EXPECT_EQ(found["failed"][0]["error"].get<std::string>().substr(0, 11), "no \"memory\"");
}

TEST(Figures, AreInTheFileAfterEverySection) {
  const test::TemporaryFolder folder;
  bench::Figures figures(folder / "figures.json");
  figures.section("outer", [&] {
    figures.section("inner", [&] { figures.add({{"figure", "one"}}); });
    EXPECT_EQ(read(folder / "figures.json")["rows"].size(), 1u);  // what a fault behind it would leave
  });
}

TEST(Figures, FileThatCannotBeWrittenIsAnError) {
  const test::TemporaryFolder folder;
  bench::Figures figures(folder / "missing" / "figures.json");
  EXPECT_THROW(figures.section("first", [] {}), Error);
}

}  // namespace
}  // namespace tare
