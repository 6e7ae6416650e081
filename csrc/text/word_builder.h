// Tokens with times and probabilities -> words (spec 6 "Timestamps", spec 9 "Targets").
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/utf8_stream.h"

namespace voxtral_edge {

struct Word {
  std::string text;           // without surrounding white space, valid UTF-8
  double start_s, end_s;      // on the real audio's time line (left padding removed), start_s <= end_s, monotonic
  double earliest_s;          // where the word before it ended: start_s, an estimate, is not before it
  float probability;          // geometric mean of the probabilities of its text tokens
  std::uint64_t token_index;  // generated index of its last text token
};

// How long a word of this text probably took to say. Only starts, and ends of words without a mark of their own, rest
// on it: 80 ms and 55 ms per letter, 180 ms per character of scripts that write syllables or words as one (Chinese,
// Japanese, Korean), nothing for ASCII punctuation. ("seven" 355 ms.)
double estimated_duration_s(std::string_view text);

// Feed every generated token in order, exactly one call each: mark, text, or pad for all others. `time_s` is the middle
// of the real frame with the token's generated index, 0.08 g + 0.04 on the caller's time line; it must not go back.
//
// Ends. [STREAMING_WORD] at generated index g says: the word that follows ended in real frame g, that is in
// [80 g, 80 (g + 1)) ms whatever the delay; the middle, 80 g + 40 ms, is its end. Words that fall due while a word is
// still being written follow it without a mark (spec 9): such a word ended after the one before it and no later than
// the frame of the last token written before its own, so its end is the earlier of that frame's time and "previous end
// + estimated duration". A word without either (the model left the mark out) gets the time of its own first token.
// Starts. Not in the token stream: max(previous end, end - estimated duration), which whoever has the audio can improve
// (audio/speech_levels.h). Times never go back.
//
// Words. A word begins at white space, or with the first text after a mark or pad; pieces without leading space ("ing",
// ",", "'s") continue it, and so do the marks that French and others set apart by a space (! ? ; : % »). Scripts
// without spaces give one word per run between marks. A word is ready when the next one begins or at the first mark
// or pad behind it: the training targets write a word's pieces in consecutive tokens. Bytes of one character may be
// split by pads or marks; the character then belongs to the word that is open when it is complete, so the words' texts
// put together are the transcript without its white space. Only a split character keeps a word open across pads, for
// at most kPadsInsideCharacter of them.
class WordBuilder {
 public:
  static constexpr int kPadsInsideCharacter = 12;  // 0.96 s
  // A mark that no text follows within so many pads no longer says when a later word ended.
  static constexpr int kPadsBehindMark = 6;

  // A model that repeats itself without white space for minutes must not grow a word without bound: it is cut here.
  static constexpr std::size_t kMostWordBytes = 1024;

  // [STREAMING_WORD].
  void mark(double time_s);
  // A text token. `probability` in (0, 1] of the token as chosen.
  void text(std::string_view bytes, float probability, std::uint64_t token_index, double time_s);
  // Any other token.
  void pad();
  // Ends the open word without counting a token: a flush, a gap. An unfinished character waits for its other bytes.
  void close();
  // End of the stream: an unfinished character becomes U+FFFD and the open word ends.
  void finish();
  // The words that became ready since the last call.
  std::vector<Word> take();
  // The same without giving the list's memory away: the caller clears it (a live stream allocates nothing per step).
  std::vector<Word>& ready() { return ready_; }
  // Back to the state after construction: time line, words, pending bytes.
  void reset();

 private:
  // Tokens whose bytes have not been given to a word yet (more than one only inside a split character).
  struct Credit {
    double log_probability = 0;
    std::uint64_t tokens = 0, last_index = 0;
    double bound_s = 0;  // an unmarked word that begins here did not end later
  };
  struct Open {
    std::string text;
    double log_probability = 0;
    std::uint64_t tokens = 0, last_index = 0;
    double bound_s = 0;
    bool marked = false, joined = false;
  };
  void append(std::string_view characters);
  void begin_word(bool joined);
  void close_word();

  Utf8Stream utf8_;
  Credit credit_;
  Open word_;
  std::vector<Word> ready_;
  double mark_time_s_ = 0, previous_end_s_ = 0;
  double text_time_s_ = 0;    // of the text token fed last
  int pads_ = 0;              // since the last mark or text
  bool has_mark_ = false;     // a mark waits for its word
  bool after_space_ = false;  // white space ended the open word, unless a set-apart mark follows
  bool in_run_ = false;       // text followed text, without a mark or pad between
  bool credited_ = false;     // the open word has its share of credit_
};

}  // namespace voxtral_edge
