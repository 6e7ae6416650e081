// Any bytes in any pieces: valid UTF-8 out, the same for every split, nothing kept back but the start of a character.
#include "base/utf8.h"
#include "fuzz_target.h"
#include "random_choices.h"
#include "text/utf8_stream.h"

using namespace voxtral_edge;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  Utf8Stream whole;
  std::string expected = whole.push(bytes);
  expected += whole.finish();
  fuzz::require(utf8_valid_prefix(expected) == expected.size(), "valid UTF-8");
  if (utf8_valid_prefix(bytes) == bytes.size()) fuzz::require(expected == bytes, "valid text passes unchanged");
  check::RandomChoices random(size);
  for (int round = 0; round < 3; ++round) {
    Utf8Stream split;
    std::string text;
    for (std::size_t at = 0; at < size;) {
      const std::size_t length = round == 0 ? 1 : random.below(6);
      const std::string part = split.push(bytes.substr(at, length));
      fuzz::require(utf8_valid_prefix(part) == part.size(), "each part is valid UTF-8");
      text += part;
      at += length;
    }
    fuzz::require(text + split.finish() == expected, "the same text for every split");
  }
  return 0;
}

std::vector<std::string> fuzz::seeds() {
  return {
      "Grüße, 漢字かな 한국어 العربية हिन्दी Привет "
      "👩‍👩‍👧‍👦👍🏽🇫🇷 "
      "e\xCC\x81",
      "plain text only", "\xC3\xA9\xE6\xBC\xA2\xF0\x9F\x98\x80\xED\x9F\xBF\xEE\x80\x80\xF4\x8F\xBF\xBF",
      "\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"};
}

std::vector<std::string> fuzz::dictionary() {
  return {"\xC3", "\xA9", "\xE6", "\xE6\xBC", "\xF0\x9F", "\xF0\x9F\x98", "\xED\xA0", "\xF4\x90",
          "\x80", "\xBF", "\xFF", "\xE0\x9F", "a"};
}
