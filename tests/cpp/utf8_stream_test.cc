// UTF-8: characters whole whatever the split, invalid bytes replaced as the Unicode standard recommends.
#include "text/utf8_stream.h"

#include <string>
#include <vector>

#include "base/utf8.h"
#include "check.h"
#include "random_choices.h"

using namespace voxtral_edge;

namespace {

const std::string kReplacement = "\xEF\xBF\xBD";

// 13 languages, combining marks, emoji with skin tones, flags and ZWJ sequences, the ends of every length class.
const std::string kMultilingual =
    "Hello, world! Grüße aus Köln. ¿Qué tal? Ça va très bien à Noël. 漢字とかな交じり文。日本語 中文简体 繁體中文 "
    "한국어 "
    "텍스트 العربية لغة جميلة हिन्दी में लिखा हुआ Привет, мир! Ελληνικά naïve coöperate e\xCC\x81 "
    "👩‍👩‍👧‍👦 "
    "👍🏽 "
    "🇫🇷🇩🇪 🏴‍☠️ ❤️ 😀 𝔘𝔫𝔦 𠮷野家 "
    "\x01\x7F\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF\xF0\x90\x80\x80\xF4\x8F\xBF\xBF";

bool valid(const std::string& text) { return utf8_valid_prefix(text) == text.size(); }

std::string decode(const std::string& bytes) {
  Utf8Stream stream;
  std::string text = stream.push(bytes);
  return text + stream.finish();
}

}  // namespace

TEST("whole text passes unchanged") {
  CHECK(valid(kMultilingual));
  CHECK_EQ(decode(kMultilingual), kMultilingual);
  CHECK_EQ(decode(""), "");
  CHECK_EQ(decode(std::string("a\0b", 3)), std::string("a\0b", 3));
}

TEST("every split into two gives the same text, whole characters in each part") {
  for (std::size_t cut = 0; cut <= kMultilingual.size(); ++cut) {
    Utf8Stream stream;
    const std::string first = stream.push(kMultilingual.substr(0, cut));
    CHECK(valid(first));
    CHECK(cut - first.size() <= 3);
    CHECK_EQ(stream.inside_character(), cut != first.size());
    const std::string second = stream.push(kMultilingual.substr(cut));
    CHECK(valid(second));
    CHECK_EQ(first + second, kMultilingual);
    CHECK_EQ(stream.finish(), "");
  }
}

TEST("random splits give the same text, also byte by byte and with empty pieces") {
  check::RandomChoices random(7);
  for (int round = 0; round < 500; ++round) {
    const std::size_t longest = 1 + random.below(round == 0 ? 1 : 9);
    Utf8Stream stream;
    std::string text;
    for (std::size_t at = 0; at < kMultilingual.size();) {
      const std::size_t size = random.below(longest + 1);
      const std::string part = stream.push(kMultilingual.substr(at, size));
      CHECK(valid(part));
      text += part;
      at += size;
    }
    CHECK_EQ(text, kMultilingual);
    CHECK(!stream.inside_character());
  }
}

TEST("invalid bytes: one replacement per maximal subpart") {
  // Examples of the Unicode standard, chapter 3.9, tables 3-8 to 3-11.
  const auto times = [](int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += kReplacement;
    return text;
  };
  CHECK_EQ(decode("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), times(8) + "A");
  CHECK_EQ(decode("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), times(8) + "A");
  CHECK_EQ(decode("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), times(5) + "A" + times(2) + "B");
  CHECK_EQ(decode("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), times(4) + "A");
  CHECK_EQ(decode("\x80"), times(1));
  CHECK_EQ(decode("\xFE\xFF"), times(2));
  CHECK_EQ(decode("\xF5\x80\x80\x80"), times(4));
}

TEST("an unfinished character waits, then becomes one replacement") {
  const std::vector<std::string> beginnings = {"\xC3", "\xE6\xBC", "\xE6", "\xF0\x9F\x98", "\xF0\x9F", "\xF0"};
  for (const std::string& beginning : beginnings) {
    Utf8Stream stream;
    CHECK_EQ(stream.push("x" + beginning), "x");
    CHECK(stream.inside_character());
    CHECK_EQ(stream.push(""), "");
    CHECK_EQ(stream.finish(), kReplacement);
    CHECK(!stream.inside_character());
    CHECK_EQ(stream.finish(), "");
    CHECK_EQ(stream.push("é"), "é");
    stream.push(beginning);
    stream.reset();
    CHECK_EQ(stream.push("y"), "y");
  }
}

TEST("random bytes give valid UTF-8, the same for every split") {
  check::RandomChoices random(11);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes;
    const std::size_t size = random.below(64);
    while (bytes.size() < size) {
      // Half of them near valid text, or the interesting states would hardly ever be reached.
      if (random.below(2) == 0) {
        bytes += static_cast<char>(random.below(256));
      } else {
        const std::size_t at = random.below(kMultilingual.size());
        bytes += kMultilingual.substr(at, 1 + random.below(4));
      }
    }
    const std::string whole = decode(bytes);
    CHECK(valid(whole));
    Utf8Stream stream;
    std::string text;
    for (const char byte : bytes) {
      const std::string part = stream.push(std::string(1, byte));
      CHECK(valid(part));
      text += part;
    }
    CHECK_EQ(text + stream.finish(), whole);
  }
}

TEST("every code point survives encoding and decoding") {
  for (char32_t code_point = 0; code_point <= 0x10FFFF; ++code_point) {
    if (code_point >= 0xD800 && code_point < 0xE000) continue;
    std::string bytes;
    utf8_append(bytes, code_point);
    const Utf8Character character = utf8_front(bytes);
    const bool same = character.kind == Utf8Character::Kind::complete && character.length == bytes.size() &&
                      character.code_point == code_point;
    if (!same) CHECK_EQ(static_cast<std::uint32_t>(character.code_point), static_cast<std::uint32_t>(code_point));
  }
  CHECK_EQ(decode("\xF4\x8F\xBF\xBF"), "\xF4\x8F\xBF\xBF");
}

CHECK_MAIN()
