// Tokens with times and probabilities -> words (spec 6 "Timestamps").
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace voxtral_edge {

struct Word {
  std::string text;            // without surrounding white space, valid UTF-8
  double start_s, end_s;       // on the real audio's time line (left padding removed), start_s <= end_s, monotonic
  float probability;           // geometric mean of the probabilities of its text tokens
  std::uint64_t token_index;   // generated index of its last text token
};

// Feed every generated token in order. A [STREAMING_WORD] mark at generated index g says: the word group that follows
// ended in real frame g, i.e. in [80 g, 80 (g + 1)) ms whatever the delay; the middle, 80 g + 40 ms, is reported.
// Words start at a leading space or at a mark; words of one group share the mark and are spread between the previous
// end and this one in proportion to their length in characters. Starts are estimates.
class WordBuilder {
 public:
  // seconds_at_index(g) = 0.08 g + 0.04 minus inserted silence is computed by the caller and passed as mark_time_s.
  void mark(double mark_time_s);                                    // [STREAMING_WORD] (or a segment end)
  void text(std::string_view bytes, float probability, std::uint64_t token_index);
  // A run of pads long enough that the current group cannot continue closes it: pass each pad.
  void pad();
  // Ends the open word. Words become available through take() once closed.
  void finish();
  std::vector<Word> take();
  void reset();

 private:
  struct Open { std::string bytes; double log_probability = 0; std::uint64_t tokens = 0, last_index = 0; };
  void close_group();
  std::vector<Open> group_;       // words of the current mark
  std::vector<Word> ready_;
  double mark_time_s_ = 0, previous_end_s_ = 0;
  bool has_mark_ = false;
};

}  // namespace voxtral_edge
