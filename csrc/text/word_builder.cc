#include "text/word_builder.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/utf8.h"

namespace voxtral_edge {

namespace {

constexpr double kWordSeconds = 0.080, kLetterSeconds = 0.055, kSyllableSeconds = 0.180;

// White space at which a line may break. The no-break spaces U+00A0, U+2007 and U+202F keep a word together.
bool is_space(char32_t c) {
  return c == ' ' || (c >= '\t' && c <= '\r') || c == 0x85 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A && c != 0x2007) || c == 0x2028 || c == 0x2029 || c == 0x205F || c == 0x3000;
}

// Belongs to the word before it even when a space stands between ("Ça va ?", "50 %").
bool is_set_apart(char32_t c) { return c == '!' || c == '?' || c == ';' || c == ':' || c == '%' || c == 0xBB; }

bool is_ascii_punctuation(char32_t c) {
  return c < 0x80 && !(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

// Han, kana, Hangul and their neighbours: one character is about one syllable.
bool is_syllable(char32_t c) { return (c >= 0x2E80 && c < 0xFB00) || (c >= 0x20000 && c < 0x40000); }

}  // namespace

double estimated_duration_s(std::string_view text) {
  double seconds = kWordSeconds;
  while (!text.empty()) {
    const Utf8Character next = utf8_front(text);
    text.remove_prefix(next.length);
    if (is_syllable(next.code_point)) {
      seconds += kSyllableSeconds;
    } else if (!is_ascii_punctuation(next.code_point)) {
      seconds += kLetterSeconds;
    }
  }
  return seconds;
}

void WordBuilder::reset() { *this = WordBuilder(); }

void WordBuilder::mark(double time_s) {
  close();
  mark_time_s_ = time_s;
  has_mark_ = true;
  pads_ = 0;
}

void WordBuilder::pad() {
  ++pads_;
  if (pads_ > kPadsBehindMark) has_mark_ = false;
  if (utf8_.inside_character() && pads_ < kPadsInsideCharacter) return;
  close();
}

void WordBuilder::text(std::string_view bytes, float probability, std::uint64_t token_index, double time_s) {
  constexpr double smallest = 1e-30;  // keeps a probability that underflowed to 0 (or is NaN) finite
  if (credit_.tokens == 0) credit_.bound_s = in_run_ ? text_time_s_ : time_s;
  text_time_s_ = time_s;
  pads_ = 0;
  credit_.log_probability += std::log(probability > smallest ? static_cast<double>(probability) : smallest);
  credit_.tokens += 1;
  credit_.last_index = token_index;
  credited_ = false;
  const std::string characters = utf8_.push(bytes);
  append(characters);
  // White space alone counts in no word; the beginning of a character counts in the word that gets the character.
  if (credited_ || !utf8_.inside_character()) credit_ = {};
  in_run_ = true;
}

void WordBuilder::finish() {
  credited_ = false;
  append(utf8_.finish());
  credit_ = {};
  close();
}

std::vector<Word> WordBuilder::take() { return std::exchange(ready_, {}); }

void WordBuilder::append(std::string_view characters) {
  while (!characters.empty()) {
    const Utf8Character next = utf8_front(characters);
    const std::string_view bytes = characters.substr(0, next.length);
    characters.remove_prefix(next.length);
    if (is_space(next.code_point)) {
      after_space_ = !word_.text.empty();
      continue;
    }
    bool joined = false;
    if (word_.text.size() >= kMostWordBytes) {
      close_word();
      joined = true;
    }
    if (after_space_) {
      after_space_ = false;
      if (is_set_apart(next.code_point) && !joined) {
        word_.text += ' ';
      } else {
        close_word();
        joined = true;
      }
    }
    if (word_.text.empty()) begin_word(joined);
    if (!credited_) {
      word_.log_probability += credit_.log_probability;
      word_.tokens += credit_.tokens;
      word_.last_index = credit_.last_index;
      credited_ = true;
    }
    word_.text += bytes;
  }
}

void WordBuilder::begin_word(bool joined) {
  word_ = {};
  word_.bound_s = credit_.bound_s;
  word_.marked = std::exchange(has_mark_, false);
  word_.joined = joined;
  credited_ = false;
}

void WordBuilder::close_word() {
  if (word_.text.empty()) return;
  const double duration = estimated_duration_s(word_.text);
  double end = word_.bound_s;
  if (word_.marked) end = mark_time_s_;
  if (word_.joined) end = std::min(end, previous_end_s_ + duration);
  end = std::max(end, previous_end_s_);
  const double start = std::max(previous_end_s_, end - duration);
  const double tokens = static_cast<double>(std::max<std::uint64_t>(word_.tokens, 1));
  const float probability = static_cast<float>(std::min(1.0, std::exp(word_.log_probability / tokens)));
  ready_.push_back({std::move(word_.text), start, end, previous_end_s_, probability, word_.last_index});
  previous_end_s_ = end;
  word_ = {};
}

void WordBuilder::close() {
  close_word();
  after_space_ = in_run_ = false;
}

}  // namespace voxtral_edge
