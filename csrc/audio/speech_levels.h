// How loud the last seconds of a stream were, and where in them a word began: the token stream says only where words
// end (spec 6).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace voxtral_edge {

// Levels in dB of 10 ms of audio each, of the pre-emphasised signal (x[n] - 0.97 x[n - 1]: no offset, no hum, and
// fricatives count). Time is that of the samples pushed since reset(); results depend on the samples up to the times
// asked for, not on how they were cut into pieces. Memory is fixed; nothing allocates after construction.
class SpeechLevels {
 public:
  // Where a word may have begun is looked for in at most this much audio.
  static constexpr double kLongestSearch_s = 3.0;

  // `history_s`: how far behind the samples pushed last a word may end and still be looked for.
  SpeechLevels(std::size_t sample_rate_hz, double history_s);

  void reset();
  void push(std::span<const float> samples);

  // Start of a word that ended at `end_s`, 0 <= earliest_s (where the word before it ended) <= end_s, and typically
  // takes `typical_s`, in seconds. From the loudest level of the last `typical_s` a threshold follows, 0.8 of the way
  // down to the quietest level, at most 25 dB down. The start is the end of the last pause of 80 ms or more (stop
  // consonants close for less) below the threshold that leaves half of `typical_s` to the word; without such a pause
  // the speech is connected, and the word begins where the one before it ended. Words are looked for in three times
  // `typical_s` where there is a pause, in twice where there is none. Beyond that, where loud and quiet are less than
  // 10 dB apart, or where the audio is out of reach: max(earliest_s, end_s - typical_s).
  double word_start(double earliest_s, double end_s, double typical_s) const;

 private:
  float level(std::uint64_t frame) const { return levels_[frame % levels_.size()]; }

  std::size_t frame_samples_;
  std::vector<float> levels_;  // dB, ring
  std::uint64_t frames_ = 0;   // complete ones
  std::size_t in_frame_ = 0;   // samples of the frame under way
  double energy_ = 0.0;        // of these
  float previous_ = 0.0f;
};

}  // namespace voxtral_edge
