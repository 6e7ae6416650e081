// Any token sequence: words are valid UTF-8, their times never go back, their text is the transcript without spaces.
//
// Input: W is a mark, P a pad, C a close; any other byte says that the following (byte mod 8) bytes are one text token.
// Digits 0 to 7 have themselves as length: "W4 one2'sP".
#include <algorithm>

#include "base/utf8.h"
#include "fuzz_target.h"
#include "text/utf8_stream.h"
#include "text/word_builder.h"

using namespace voxtral_edge;

namespace {

// ASCII white space only: whatever else the builder takes for a space must then be missing in neither.
std::string without_ascii_spaces(const std::string& text) {
  std::string out;
  std::copy_if(text.begin(), text.end(), std::back_inserter(out),
               [](char c) { return c != ' ' && (c < '\t' || c > '\r'); });
  return out;
}

bool has_other_spaces(const std::string& text) {
  for (const char* space : {"\xC2\x85", "\xE1\x9A\x80", "\xE2\x80", "\xE2\x81\x9F", "\xE3\x80\x80"}) {
    if (text.find(space) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  WordBuilder builder;
  Utf8Stream transcript;
  std::string text, words;
  std::uint64_t index = 0;
  double previous_end = 0;
  const auto collect = [&] {
    for (const Word& word : builder.take()) {
      fuzz::require(!word.text.empty() && word.text.size() <= WordBuilder::kMostWordBytes + 8,
                    "words have a sensible size");
      fuzz::require(utf8_valid_prefix(word.text) == word.text.size(), "words are valid UTF-8");
      fuzz::require(word.start_s >= previous_end && word.end_s >= word.start_s, "times never go back");
      fuzz::require(word.probability >= 0.0f && word.probability <= 1.0f, "probabilities");
      fuzz::require(word.token_index <= index, "the index of a token that was fed");
      previous_end = word.end_s;
      words += word.text;
    }
  };
  for (std::size_t at = 0; at < input.size(); ++index) {
    const double time = 0.08 * static_cast<double>(index);
    const auto command = static_cast<std::uint8_t>(input[at++]);
    if (command == 'W') {
      builder.mark(time);
    } else if (command == 'P') {
      builder.pad();
    } else if (command == 'C') {
      builder.close();
    } else {
      const std::string bytes = input.substr(at, command % 8);
      at += bytes.size();
      builder.text(bytes, static_cast<float>(command) / 255.0f, index, time);
      text += transcript.push(bytes);
    }
    collect();
  }
  builder.finish();
  collect();
  text += transcript.finish();
  if (!has_other_spaces(text)) {
    fuzz::require(without_ascii_spaces(words) == without_ascii_spaces(text), "words put together are the transcript");
  }
  return 0;
}

std::vector<std::string> fuzz::seeds() {
  return {"W4 oneP2 PW7 two, x2 aPP", "W4 caf1\xC3PP1\xA9W3 \xF0\x9FP2\x98\x80W7\xE6\xBC\xA2\xE5\xAD\x97?",
          "PW7 of the4 end3 !!C4abcd4 efg",
          "W2\xE3\x80"
          "1\x80"
          "1x2\xC2\xA0PPPPPPPPPPPPPP1y"};
}

std::vector<std::string> fuzz::dictionary() {
  return {"W",
          "P",
          "C",
          "PPPPPPPPPPPP",
          "4 abc",
          "1\xC3",
          "1\xA9",
          "2 ?",
          "3\xE3\x80\x80",
          "1 ",
          "7       ",
          "7abcdefg7abcdefg"};
}
