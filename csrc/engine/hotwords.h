// Phrases the listener expects, as lists and as text, made ready for biasing (decode/bias.h). docs/biasing.md says why
// each rule is as it is.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "decode/bias.h"
#include "text/text_encoder.h"

namespace voxtral_edge {

// Logits that a whole phrase gains at its last token; from the sweep in docs/biasing.md.
inline constexpr double kDefaultHotwordWeight = 1.0;
inline constexpr double kMostHotwordWeight = BiasTree::kMaxBonus;
inline constexpr std::size_t kMostHotwords = 10'000;
inline constexpr std::size_t kMostHotwordCharacters = 256;

struct Hotword {
  std::string phrase;
  double weight = kDefaultHotwordWeight;  // above 0, at most kMostHotwordWeight
};

// Phrases in composed form (NFC) with single spaces, in their order. Error(usage), naming the item, for invalid UTF-8,
// phrases without letter or digit or of more than kMostHotwordCharacters, weights outside (0, kMostHotwordWeight], and
// more than kMostHotwords phrases.
std::vector<Hotword> checked_hotwords(std::span<const Hotword> given);

// The same from a text: items between `separator`s, each a phrase with an optional " :weight". Empty items are skipped;
// if the separator is a line's end, so are lines that begin with #.
std::vector<Hotword> parse_hotwords(std::string_view text, char separator);

// How a phrase may stand in a transcript. Words carry their leading space, so a spelling without one is possible only
// as the opening of a transcript, except in scripts that write no spaces. Case: as given, all lower case, and with a
// capital first letter as at the beginning of a sentence.
struct HotwordSpelling {
  std::string text;
  bool opening;
};
std::vector<HotwordSpelling> spellings_of(std::string_view phrase);

// The tree that a stream takes (StreamOptions::bias); null for no phrases.
std::shared_ptr<const BiasTree> hotword_tree(std::span<const Hotword> checked, const TextEncoder& encoder);

}  // namespace voxtral_edge
