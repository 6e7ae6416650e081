// Any pattern on any text: pieces in order, or Error(model_format). Any list of phrases: normalised, or Error(usage).
#include "engine/hotwords.h"

#include "base/utf8.h"
#include "fuzz_target.h"
#include "text/split_pattern.h"
#include "text/unicode.h"

using namespace voxtral_edge;

namespace {

void split(const std::string& pattern, const std::string& text) {
  fuzz::expect_model_format_error([&] {
    const SplitPattern compiled(pattern);
    const std::u32string characters = code_points(text);
    std::size_t before = 0;
    for (const auto& [begin, end] : compiled.pieces(characters)) {
      fuzz::require(before <= begin && begin < end && end <= characters.size(), "pieces are in order and not empty");
      before = end;
    }
  });
}

void list(const std::string& text) {
  try {
    for (const Hotword& hotword : parse_hotwords(text, '\n')) {
      const Hotword again = checked_hotwords({&hotword, 1})[0];
      fuzz::require(again.phrase == hotword.phrase, "a normalised phrase stays as it is");
      fuzz::require(spellings_of(hotword.phrase).size() >= 2, "every phrase has spellings");
    }
  } catch (const Error& error) {
    if (error.code() != ErrorCode::usage) throw;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const std::size_t line = std::min(bytes.find('\n'), size);
  const std::string text = bytes.substr(std::min(line + 1, size), 200);
  split(bytes.substr(0, line), text.substr(0, utf8_valid_prefix(text)));
  list(bytes);
  return 0;
}

std::vector<std::string> fuzz::seeds() {
  return {
      "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{M}]*[\\p{Ll}\\p{Lo}]+|\\p{N}| ?[^\\s\\p{L}]+[\\r\\n/]*|\\s+(?!\\S)|\\s+\n"
      "It's 12 degrees in Z\xC3\xBCrich,  isn't it?\n\n",
      "(?:a|ab){2,3}(?=c)|.\nababc", "Kubernetes\nZu\xCC\x88rich :3\n# no\n\xED\x95\x9C :0.5\n"};
}

std::vector<std::string> fuzz::dictionary() {
  return {"(?:",
          "(?=",
          "(?!",
          ")",
          "[^",
          "]",
          "\\p{",
          "}",
          "\\P{L}",
          "\\s",
          "|",
          "*",
          "+",
          "?",
          "{0,9}",
          "{2,}",
          "a-z",
          "\\",
          "\n",
          " :",
          "\xCC\x81",
          "\xE1\x84\x92",
          "\xE1\x85\xA1",
          "\xC3\x9F",
          "."};
}
