// More files than a process may have open, and folders that are not held in memory.
#include <gmock/gmock.h>
#include <sys/resource.h>

#include "archive.hpp"
#include "support.hpp"
#include "tare/model.hpp"

namespace tare::test {
namespace {

/// A limit that goes back to what it was.
class OpenFiles {
 public:
  explicit OpenFiles(::rlim_t limit) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    ::rlimit lower = before_;
    lower.rlim_cur = limit;
    ::setrlimit(RLIMIT_NOFILE, &lower);
  }
  OpenFiles(const OpenFiles&) = delete;
  OpenFiles& operator=(const OpenFiles&) = delete;
  ~OpenFiles() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  ::rlimit before_{};
};

class ManyFiles : public DataReaders {
 protected:
  static constexpr int files = 150;
  static constexpr ::rlim_t limit = 64;
  const Graph graph_ = graph_with({{"x", DataType::float32, Shape{-1, 2}}});

  static std::vector<float> first_values(Dataset& data) {
    std::vector<float> values;
    while (const auto batch = data.next())
      for (std::int64_t row = 0; row < batch->inputs[0].shape()[0]; ++row)
        values.push_back(batch->inputs[0].data<float>()[row * 2]);
    data.rewind();
    return values;
  }
  static std::vector<float> expected() {
    std::vector<float> values(files);
    std::iota(values.begin(), values.end(), 0.0f);
    return values;
  }
};

TEST_F(ManyFiles, AFolderMayHoldMoreArchivesThanCanBeOpen) {
  std::filesystem::create_directory(file("d"));
  for (int i = 0; i < files; ++i)
    save_npz(file("d/" + std::to_string(1000 + i) + ".npz"), {{"x", counting<float>({1, 2}, static_cast<float>(i))}},
             i % 2 != 0);
  const OpenFiles few(limit);
  const auto data = prefetch(open_dataset(file("d"), graph_, {.batch_size = 40}));
  EXPECT_EQ(data->samples(), static_cast<std::size_t>(files));
  EXPECT_EQ(first_values(*data), expected());
  EXPECT_EQ(first_values(*data), expected()) << "and once more";
}

TEST_F(ManyFiles, AFileThatChangesWhileItIsClosedIsNoticed) {
  std::filesystem::create_directory(file("d"));
  for (int i = 0; i < 40; ++i)
    write_npy(file("a" + std::to_string(i) + ".npy"), counting<float>({1, 2}, static_cast<float>(i)));
  const auto data = open_dataset(file("a7.npy"), graph_);
  write_npy(file("a7.npy"), counting<float>({3, 2}));
  EXPECT_THAT(error_of(ErrorKind::data, [&] { data->next(); }), testing::HasSubstr("a7.npy': has changed"));
}

/// TensorProto: dims (field 1), data_type (2) float, raw_data (9).
std::string tensor_file(const Tensor& tensor, bool packed) {
  std::string text = packed ? std::string("\x0a\x02\x01\x02", 4) : std::string("\x08\x01\x08\x02", 4);
  text += std::string("\x10\x01\x42\x01x\x4a\x08", 7);  // and a name
  return text + std::string(reinterpret_cast<const char*>(tensor.data()), tensor.bytes());
}

TEST_F(ManyFiles, OnnxFoldersAreReadWhenTheirTurnComes) {
  for (int i = 0; i < files; ++i)
    write("case/test_data_set_" + std::to_string(1000 + i) + "/input_0.pb",
          tensor_file(counting<float>({1, 2}, static_cast<float>(i)), i % 2 == 0));
  const OpenFiles few(limit);
  const auto data = open_dataset(file("case"), graph_, {.batch_size = 7});
  EXPECT_EQ(first_values(*data), expected());
  // Opening has not kept what was in the files.
  write("case/test_data_set_1000/input_0.pb", tensor_file(counting<float>({1, 2}, 77.0f), true));
  EXPECT_EQ(first_values(*data).front(), 77.0f);
  write("case/test_data_set_1000/input_0.pb", "nonsense");
  EXPECT_THROW(data->next(), Error);
}

TEST_F(ManyFiles, HeadersOfTensorFilesAreCheckedWithoutTheirElements) {
  const std::string whole = tensor_file(counting<float>({1, 2}), true);
  write("t.pb", whole);
  EXPECT_EQ(*load_tensor_header(file("t.pb")).shape, (Shape{1, 2}));
  EXPECT_EQ(load_tensor_header(file("t.pb")).type, DataType::float32);
  // Cut anywhere: an error, or a header that the cut has not touched.
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write("t.pb", whole.substr(0, size));
    try {
      load_tensor_header(file("t.pb"));
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr("t.pb"));
    }
  }
  write("t.pb", std::string("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01", 12));  // 2^64 - 1 bytes of dims
  EXPECT_THROW(load_tensor_header(file("t.pb")), Error);
}

}  // namespace
}  // namespace tare::test
