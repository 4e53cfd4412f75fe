// NumPy files: what is written is read back (and is what NumPy reads), and damaged or hostile files are refused.
#include <gmock/gmock.h>

#include <cstring>

#include "archive.hpp"
#include "support.hpp"

namespace tare::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string npy(const std::string& dict, const std::string& data) {
  return std::string("\x93NUMPY\x01\x00", 8) + number(dict.size(), 2) + dict + data;
}

const std::string small =
    npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", number(0x3f800000, 4) + number(0x40000000, 4));

class Npz : public DataReaders {};

TEST_F(Npz, RoundTripsEveryTypeStoredAndDeflated) {
  const std::vector<std::pair<std::string, Tensor>> arrays = {
      {"000/x:0", counting<float>({100, 7, 50})},
      {"scalar", Tensor::of<std::int64_t>({}, std::vector<std::int64_t>{-5})},
      {"empty", counting<double>({0, 3})},
      {"half", counting<std::uint16_t>({3}).retyped(DataType::float16)},
      {"brain", counting<std::uint16_t>({3}).retyped(DataType::bfloat16)},
      {"flags", counting<std::uint8_t>({2}).retyped(DataType::boolean)},
      {"small", counting<std::int8_t>({2, 2}, -2)}};
  NpzWriter writer(file("a.npz"));
  for (const auto& [key, tensor] : arrays) writer.add(key, tensor);
  EXPECT_FALSE(std::filesystem::exists(file("a.npz")));
  writer.commit();
  save_npz(file("deflated.npz"), arrays, true);
  EXPECT_LT(std::filesystem::file_size(file("deflated.npz")), std::filesystem::file_size(file("a.npz")) / 2);
  for (const char* name : {"a.npz", "deflated.npz"}) {
    const NpzFile read(file(name));
    EXPECT_THAT(read.keys(), ElementsAre("000/x:0", "scalar", "empty", "half", "brain", "flags", "small"));
    EXPECT_EQ(read.shape("000/x:0"), (Shape{100, 7, 50}));
    EXPECT_EQ(values_of<float>(read.read("000/x:0")), values_of<float>(counting<float>({100, 7, 50})));
    EXPECT_EQ(read.shape("scalar"), Shape{});
    EXPECT_EQ(*read.read("scalar").data<std::int64_t>(), -5);
    EXPECT_EQ(read.shape("empty"), (Shape{0, 3}));
    EXPECT_EQ(read.type("half"), DataType::float16);
    EXPECT_EQ(read.type("flags"), DataType::boolean);
    EXPECT_THAT(values_of<std::int8_t>(read.read("small")), ElementsAre(-2, -1, 0, 1));
  }
}

TEST_F(Npz, SameDataGivesTheSameBytes) {
  for (const char* name : {"a.npz", "b.npz"}) {
    NpzWriter writer(file(name));
    writer.add("x", counting<float>({1000}));
    writer.commit();
  }
  EXPECT_EQ(bytes_of_file(file("a.npz")), bytes_of_file(file("b.npz")));
}

TEST_F(Npz, NothingIsLeftBehindWithoutCommit) {
  {
    NpzWriter writer(file("a.npz"));
    writer.add("x", counting<float>({3}));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
  EXPECT_THAT(error_of(ErrorKind::io, [&] { NpzWriter writer(file("no/such/folder.npz")); }), HasSubstr("folder.npz"));
}

TEST_F(Npz, WritesInPieces) {
  NpzWriter writer(file("a.npz"));
  writer.begin("x", DataType::int32, {2, 2});
  const Tensor half = counting<std::int32_t>({1, 2});
  for (int i = 0; i < 2; ++i) writer.append(std::as_bytes(half.span<std::int32_t>()));
  writer.end();
  writer.begin("y", DataType::int32, {2});
  error_of(ErrorKind::internal, [&] { writer.end(); });
  writer.append(std::as_bytes(half.span<std::int32_t>()));
  writer.end();
  error_of(ErrorKind::internal, [&] { writer.add("x", half); });
  writer.commit();
  EXPECT_THAT(values_of<std::int32_t>(NpzFile(file("a.npz")).read("x")), ElementsAre(0, 1, 0, 1));
}

TEST_F(Npz, ReadsTheClassicForm) {
  write("a.npz", zip({{.data = small}, {.name = "y.npy", .data = small, .method = 8}}));
  const NpzFile read(file("a.npz"));
  EXPECT_THAT(values_of<float>(read.read("x")), ElementsAre(1.0f, 2.0f));
  EXPECT_THAT(values_of<float>(read.read("y")), ElementsAre(1.0f, 2.0f));
  EXPECT_THAT(error_of(ErrorKind::data, [&] { read.read("z"); }), HasSubstr("no key 'z'"));
}

TEST_F(Npz, RefusesDamagedArchives) {
  const std::string good = zip({{.data = small}, {.name = "y.npy", .data = small, .method = 8}});
  const auto message = [&](const std::string& bytes) {
    write("bad.npz", bytes);
    return error_of(ErrorKind::data, [&] {
      const NpzFile read(file("bad.npz"));
      for (const std::string& key : read.keys()) read.read(key);
    });
  };
  EXPECT_THAT(message(""), HasSubstr("bad.npz"));
  EXPECT_THAT(message("no zip file, but long enough to hold an end record"), HasSubstr("no end record"));
  EXPECT_THAT(message(zip({{.data = small, .checksum_change = 1}})), HasSubstr("checksum"));
  EXPECT_THAT(message(zip({{.data = small, .method = 8, .checksum_change = 1}})), HasSubstr("checksum"));
  EXPECT_THAT(message(zip({{.data = small, .claimed_size = 5}})), HasSubstr("claims"));
  EXPECT_THAT(message(zip({{.data = small, .method = 8, .claimed_size = 4'000'000'000}})), HasSubstr("claims"));
  EXPECT_THAT(message(zip({{.data = small, .method = 12}})), HasSubstr("compression method 12"));
  EXPECT_THAT(message(zip({{.data = small, .flags = 1}})), HasSubstr("encrypted"));
  EXPECT_THAT(message(zip({{.data = small}, {.data = small}})), HasSubstr("bad.npz': key 'x' is there twice"));
  EXPECT_THAT(message(zip({{.data = small}, {.name = "x", .data = small}})),
              HasSubstr("bad.npz': key 'x' is there twice (the second time as member 'x'); save"));
  EXPECT_THAT(message(zip({{.data = small}, {.name = "y.npy", .data = small, .offset = 0}})), HasSubstr("overlap"));
  EXPECT_THAT(message(zip({{.data = small, .offset = 1'000'000}})), HasSubstr("outside"));
}

TEST_F(Npz, AnyCutAndAnyFlippedByteIsAnErrorOrHarmless) {
  const std::string good = zip({{.data = small}, {.name = "y.npy", .data = small, .method = 8}});
  const auto try_read = [&](const std::string& bytes) {
    write("bad.npz", bytes);
    try {
      const NpzFile read(file("bad.npz"));
      for (const std::string& key : read.keys()) read.read(key);
    } catch (const Error&) {
      return false;
    }
    return true;
  };
  ASSERT_TRUE(try_read(good));
  for (std::size_t length = 0; length < good.size(); ++length) EXPECT_FALSE(try_read(good.substr(0, length))) << length;
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ char(at % 2 == 0 ? 0xff : 0x01));
    try_read(bad);
  }
}

TEST_F(Npz, RefusesArraysThatAreNone) {
  const auto message = [&](const std::string& bytes) {
    write("bad.npy", bytes);
    return error_of(ErrorKind::data, [&] { read_npy(file("bad.npy")); });
  };
  const std::string data(8, '\0');
  EXPECT_THAT(message("short"), HasSubstr("not an .npy"));
  EXPECT_THAT(message(std::string(100, 'x')), HasSubstr("magic"));
  EXPECT_THAT(message(npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", data)), HasSubstr("pickle"));
  EXPECT_THAT(message(npy("{'descr': '<U4', 'fortran_order': False, 'shape': (2,), }", data)), HasSubstr("'<U4'"));
  EXPECT_THAT(message(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", data)),
              HasSubstr("structured"));
  EXPECT_THAT(message(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", data)),
              HasSubstr("does not match"));
  EXPECT_THAT(message(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", data)), HasSubstr("dimension"));
  EXPECT_THAT(
      message(
          npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4611686018427387904), }", data)),
      HasSubstr("does not match"));
  EXPECT_THAT(message(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,1,1,1,1), }", data)),
              HasSubstr("dimensions"));
  EXPECT_THAT(message(npy("{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,), }", data)),
              HasSubstr("fortran_order"));
  EXPECT_THAT(message(npy("{'descr': '<f4', 'shape': (2,), }", data)), HasSubstr("incomplete"));
  EXPECT_THAT(message(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)", data)), HasSubstr("header"));
}

TEST_F(Npz, ConvertsFortranOrderAndByteOrder) {
  std::string big;
  for (const float value : {0.0f, 3.0f, 1.0f, 4.0f, 2.0f, 5.0f}) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, 4);
    const std::string bytes = number(bits, 4);
    big += std::string(bytes.rbegin(), bytes.rend());
  }
  write("f.npy", npy("{'descr': '>f4', 'fortran_order': True, 'shape': (2, 3), }", big));
  EXPECT_THAT(values_of<float>(read_npy(file("f.npy"))), ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST_F(Npz, Labels) {
  write_npy(file("l.npy"), counting<std::int32_t>({3}));
  EXPECT_THAT(read_labels(file("l.npy")), ElementsAre(0, 1, 2));
  EXPECT_THAT(read_labels(write("l.txt", "4\n\n# three\n 3 \r\n")), ElementsAre(4, 3));
  EXPECT_THAT(read_labels(write("a.csv", "file,label,note\na.png,4,x\nb.png,2,y\n")), ElementsAre(4, 2));
  EXPECT_THAT(read_labels(write("b.csv", "a.png,4\nb.png,2")), ElementsAre(4, 2));
  EXPECT_THAT(read_labels(write("e.csv", "\xef\xbb\xbflabel,file\r\n4,a.png\r\n2,b.png\r\n")), ElementsAre(4, 2));
  EXPECT_THAT(error_of(ErrorKind::data, [&] { read_labels(write("c.txt", "1\ntwo\n")); }), HasSubstr("line 2"));
  EXPECT_THAT(error_of(ErrorKind::data, [&] { read_labels(write("d.txt", "\n")); }), HasSubstr("no labels"));
  write_npy(file("f.npy"), counting<float>({3}));
  EXPECT_THAT(error_of(ErrorKind::data, [&] { read_labels(file("f.npy")); }), HasSubstr("float32"));
}

/// RFC 4180: what is in quotes may hold commas, line ends and quotes that stand for one each.
TEST_F(Npz, LabelsOfATableWithQuotes) {
  EXPECT_THAT(read_labels(write("a.csv", "\"a, b\",3\n\"c\",\"4\"\n")), ElementsAre(3, 4));
  EXPECT_THAT(
      read_labels(write("b.csv", "name,\"label\",note\n\"a \"\"1, 2\"\"\",3,\"two\nlines, 9\"\n b , 4 ,\"\"\n")),
      ElementsAre(3, 4));
  EXPECT_THAT(read_labels(write("c.csv", "5\" pipe,3\r\n \"x\" , \"4\" \r\n# 1\r\n\r\n\"# no comment\",5")),
              ElementsAre(3, 4, 5));
  const auto message = [&](const std::string& text) {
    return error_of(ErrorKind::data, [&] { read_labels(write("bad.csv", text)); });
  };
  EXPECT_THAT(message("a,1\n\"b,2\nc,3\n"), HasSubstr("bad.csv', line 2: a quote is opened and never closed"));
  EXPECT_THAT(message("a,1\n\"b\" x,2\n"), HasSubstr("bad.csv', line 2: 'x' follows a closing quote"));
  EXPECT_THAT(message("\"a\nb\",1\nc,\"two\"\n"), HasSubstr("line 3: 'two' is no integer label"));
  EXPECT_THAT(message("label,name\n1,a\n2,\"b\nb\"\n3,c\n\"x, y\",d\n"),
              HasSubstr("line 6: 'x, y' is no integer label"));
  EXPECT_THAT(message("name,label\na,1\nb\n"), HasSubstr("line 3: there is no cell 2, where the label should be"));
}

}  // namespace
}  // namespace tare::test
