// The file of convolution choices: JSON, one line a convolution, every number under its name. Odd: input and output are
// those of the operator, so that a transposed one has its own the other way round than in `Convolution`.
#include "choices.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <limits>

#include "export/json_fields.hpp"
#include "model/atomic_file.hpp"

namespace tare::cuda {
namespace {

using json_fields::Place;
using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::string_view format_name = "tare convolutions";
constexpr std::int64_t format_version = 1;
constexpr int winograd = 6;
constexpr std::string_view advice = "delete the file or name another one: the search is then made again";

// The library's names by its numbers (cudnn.cpp checks them), of those that may be chosen.
constexpr std::array<std::string_view, as_product + 1> forward_names{
    "implicit_gemm", "implicit_precomp_gemm", "gemm", "", "", "", "winograd", "", "product"};
constexpr std::array<std::string_view, 2> transposed_names{"", "algorithm_1"};  // 0 gives other bits every time
constexpr std::array<std::string_view, 4> math_type_names{"default", "tensor_op", "tensor_op_allow_conversion", "fma"};
constexpr std::string_view fma = math_type_names[3];
constexpr std::array<std::string_view, 3> math_names{"fp32", "tf32", "bf16"};  // as --math
constexpr std::array<DataType, 3> types{DataType::float32, DataType::float16, DataType::bfloat16};

std::span<const std::string_view> algorithm_names(bool transposed) {
  if (transposed) return transposed_names;
  return forward_names;
}

/// The place of a key's text among names.
int number_of(const json& object, const char* key, std::span<const std::string_view> names, const Place& place) {
  const std::string text = json_fields::text(json_fields::member(object, key, place), place.at(key));
  const auto found = std::find(names.begin(), names.end(), text);
  if (text.empty() || found == names.end()) {
    std::string known;
    for (const std::string_view name : names)
      if (!name.empty()) known.append(known.empty() ? "" : ", ").append(name);
    place.at(key).fail(fmt::format("'{}' is not one of {}; {}", text, known, advice));
  }
  return static_cast<int>(found - names.begin());
}

std::int64_t integer(const json& object, const char* key, std::int64_t lowest, std::int64_t highest,
                     const Place& place) {
  return json_fields::integer(json_fields::member(object, key, place), lowest, highest, place.at(key));
}

/// A list of `least` to `most` numbers.
Shape shape_of(const json& object, const char* key, std::size_t least, std::size_t most, std::int64_t lowest,
               const Place& place) {
  const Place at = place.at(key);
  const json& list = json_fields::list(json_fields::member(object, key, place), at);
  if (list.size() < least || list.size() > most)
    at.fail(least == most ? fmt::format("{} numbers instead of {}", list.size(), least)
                          : fmt::format("{} numbers instead of {} to {}", list.size(), least, most));
  Shape shape;
  for (std::size_t i = 0; i < list.size(); ++i)
    shape.push_back(json_fields::integer(list[i], lowest, std::numeric_limits<std::int32_t>::max(), at.at(i)));
  return shape;
}

std::vector<std::int64_t> list_of(const Shape& shape) { return {shape.begin(), shape.end()}; }

std::string capability_of(const std::vector<std::int64_t>& model) {
  return fmt::format("{}.{}", model.at(0), model.at(1));
}

/// Fails unless the file was made where it is read.
void check_origin(const json& file, const ConvolutionPlatform& platform, const Place& top) {
  if (!file.is_object() || !file.contains("format") || file["format"] != format_name)
    top.fail(fmt::format("this is not a file of convolution choices: \"format\" is not \"{}\"", format_name));
  const std::int64_t version = integer(file, "version", 0, std::numeric_limits<std::int32_t>::max(), top);
  if (version != format_version)
    top.at("version").fail(
        fmt::format("{} is not the version that this program reads, which is {}; {}", version, format_version, advice));
  const std::string cudnn = json_fields::text(json_fields::member(file, "cudnn", top), top.at("cudnn"));
  if (cudnn != platform.cudnn)
    top.at("cudnn").fail(
        fmt::format("the choices were made with cuDNN {}, here it is {}; {}", cudnn, platform.cudnn, advice),
        ErrorKind::usage);
  const Place at = top.at("device");
  const json& device = json_fields::member(file, "device", top);
  const std::string name = json_fields::text(json_fields::member(device, "name", at), at.at("name"));
  const std::string capability =
      json_fields::text(json_fields::member(device, "compute_capability", at), at.at("compute_capability"));
  const std::int64_t multiprocessors =
      integer(device, "multiprocessors", 1, std::numeric_limits<std::int32_t>::max(), at);
  const auto described = [](std::string_view of, std::string_view with, std::int64_t count) {
    return fmt::format("{} (compute capability {}, {} multiprocessors)", of, with, count);
  };
  const std::string made = described(name, capability, multiprocessors);
  const std::string here = described(platform.device, capability_of(platform.model), platform.model.at(2));
  if (made != here)
    at.fail(fmt::format("the choices were made on {}, this is {}; {}", made, here, advice), ErrorKind::usage);
}

}  // namespace

bool Convolution::is_pointwise() const {
  const auto all = [](const Shape& shape, std::size_t from, std::int64_t value) {
    return std::all_of(shape.begin() + from, shape.end(), [&](std::int64_t dim) { return dim == value; });
  };
  return !transposed && groups == 1 && all(w, 2, 1) && all(strides, 0, 1) && all(pads, 0, 0);
}

Product Convolution::as_product() const {
  Product product;
  product.type = product.result = type;
  product.rows = y[1];
  product.inner = x[1];
  product.columns = x.elements(2, x.rank());
  product.batch = x[0];
  product.stride_b = product.inner * product.columns;
  product.stride_c = product.rows * product.columns;
  return product;
}

bool may_be_chosen(int number, bool faithful, bool transposed) {
  const std::span<const std::string_view> names = algorithm_names(transposed);
  if (!transposed && number == winograd && !faithful) return false;
  return static_cast<std::size_t>(number) < names.size() && !names[static_cast<std::size_t>(number)].empty();
}

ConvolutionChoices::Key ConvolutionChoices::key_of(const Convolution& c, Math math) {
  Key key{static_cast<std::int64_t>(math), static_cast<std::int64_t>(c.type), c.groups,
          static_cast<std::int64_t>(c.transposed)};
  for (const Shape* shape : {&c.x, &c.w, &c.y, &c.pads, &c.strides, &c.dilations})
    key.insert(key.end(), shape->begin(), shape->end());
  return key;
}

void ConvolutionChoices::load(const std::filesystem::path& path, const ConvolutionPlatform& platform) {
  const std::string source = path.string();
  std::error_code failed;
  if (std::filesystem::is_directory(path, failed))
    throw Error(ErrorKind::io, fmt::format("cannot read '{}': it is a folder; name a file", source));
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw Error(ErrorKind::io, fmt::format("cannot read '{}': check the path and its permissions", source));
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  const json file = json::parse(text, nullptr, false);
  const Place top{source, ""};
  if (file.is_discarded()) top.fail(fmt::format("this is no JSON; {}", advice));
  check_origin(file, platform, top);

  std::map<Key, Choice> read;
  const json& entries = json_fields::member(file, "convolutions", top);
  if (!entries.is_array()) top.at("convolutions").fail("a list is needed here");
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const Place at = top.at("convolutions").at(i);
    const json& entry = entries[i];
    Choice choice{};
    Convolution& c = choice.convolution;
    ChosenAlgorithm& algorithm = choice.found.algorithm;
    c.transposed = json_fields::boolean(json_fields::member(entry, "transposed", at), at.at("transposed"));
    const Shape input = shape_of(entry, "input", 4, 5, 1, at);
    const std::size_t rank = input.rank();
    const Shape output = shape_of(entry, "output", rank, rank, 1, at);
    c.x = c.transposed ? output : input;
    c.y = c.transposed ? input : output;
    c.w = shape_of(entry, "weights", rank, rank, 1, at);
    c.pads = shape_of(entry, "pads", rank - 2, rank - 2, 0, at);
    c.strides = shape_of(entry, "strides", rank - 2, rank - 2, 1, at);
    c.dilations = shape_of(entry, "dilations", rank - 2, rank - 2, 1, at);
    c.groups = integer(entry, "groups", 1, std::numeric_limits<std::int32_t>::max(), at);
    std::vector<std::string_view> type_names;
    for (const DataType type : types) type_names.push_back(name_of(type));
    c.type = types[static_cast<std::size_t>(number_of(entry, "type", type_names, at))];
    choice.math = static_cast<Math>(number_of(entry, "math", math_names, at));
    algorithm.number = number_of(entry, "algorithm", algorithm_names(c.transposed), at);
    if (!c.transposed && algorithm.number == as_product && !c.is_pointwise())
      at.at("algorithm")
          .fail(fmt::format("only a convolution of single elements is a product of matrices; {}", advice));
    const bool faithful = c.type == DataType::float32 && choice.math == Math::float32;
    if (!may_be_chosen(algorithm.number, faithful, c.transposed))
      at.at("algorithm").fail(fmt::format("only float32 with math fp32 runs by Winograd's algorithm; {}", advice));
    algorithm.math = number_of(entry, "math_type", math_type_names, at);
    if (faithful && entry["math_type"] != fma)
      at.at("math_type").fail(fmt::format("float32 with math fp32 is not rounded: it must be {}", fma));
    algorithm.workspace =
        static_cast<std::size_t>(integer(entry, "workspace", 0, static_cast<std::int64_t>(most_workspace), at));
    if (!read.emplace(key_of(c, choice.math), choice).second) at.fail("this convolution stands in the file twice");
  }
  const std::lock_guard lock(mutex_);
  chosen_[platform.model].merge(read);
}

void ConvolutionChoices::save(const std::filesystem::path& path, const ConvolutionPlatform& platform) {
  const std::lock_guard lock(mutex_);
  const ordered_json device = {{"name", platform.device},
                               {"compute_capability", capability_of(platform.model)},
                               {"multiprocessors", platform.model.at(2)}};
  const auto line = [](const ordered_json& value) {
    return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  };
  std::string text = fmt::format(
      "{{\n  \"format\": \"{}\",\n  \"version\": {},\n  \"cudnn\": {},\n  \"device\": {},\n  \"convolutions\": [",
      format_name, format_version, line(platform.cudnn), line(device));
  const char* separator = "\n";
  for (const auto& [key, choice] : chosen_[platform.model]) {
    if (!choice.found.lasting) continue;
    const Convolution& c = choice.convolution;
    const ChosenAlgorithm& algorithm = choice.found.algorithm;
    text += separator;
    text += "    " + line({{"input", list_of(c.transposed ? c.y : c.x)},
                           {"weights", list_of(c.w)},
                           {"output", list_of(c.transposed ? c.x : c.y)},
                           {"pads", list_of(c.pads)},
                           {"strides", list_of(c.strides)},
                           {"dilations", list_of(c.dilations)},
                           {"groups", c.groups},
                           {"transposed", c.transposed},
                           {"type", name_of(c.type)},
                           {"math", math_names.at(static_cast<std::size_t>(choice.math))},
                           {"algorithm", algorithm_names(c.transposed)[static_cast<std::size_t>(algorithm.number)]},
                           {"math_type", math_type_names.at(static_cast<std::size_t>(algorithm.math))},
                           {"workspace", algorithm.workspace}});
    separator = ",\n";
  }
  write_file_atomically(path, text + "\n  ]\n}\n");
  unsaved_ = false;
}

bool ConvolutionChoices::unsaved() const {
  const std::lock_guard lock(mutex_);
  return unsaved_;
}

bool has_unsaved(const ConvolutionChoices& choices) { return choices.unsaved(); }

}  // namespace tare::cuda
