// From padded real frames (80 ms, counted with the silence that flush inserts) to seconds of the audio that was fed.
#pragma once

#include <cmath>
#include <cstdint>
#include <deque>

namespace voxtral_edge {

// The last whole millisecond of a time: 3.8 for 47.5 * 0.08, which is 3.8000000000000003. No finer time is known.
inline double whole_milliseconds(double seconds) { return std::floor(seconds * 1000.0 + 1e-3) / 1000.0; }

class TimeLine {
 public:
  TimeLine(double seconds_per_token, double samples_per_second)
      : seconds_per_token_(seconds_per_token), samples_per_second_(samples_per_second) {}

  void reset() {
    gaps_.clear();
    inserted_s_ = 0.0;
  }

  // `samples` of silence follow after `fed_samples` of audio, which with earlier silence end at frame `from_token`.
  void insert_silence(double from_token, std::uint64_t fed_samples, std::uint64_t samples) {
    gaps_.push_back({from_token * seconds_per_token_, static_cast<double>(fed_samples) / samples_per_second_,
                     static_cast<double>(samples) / samples_per_second_});
  }

  // Time of the middle of real frame `token` (a [STREAMING_WORD] mark says only: within this frame, spec 6).
  // Calls must not go back.
  double middle_of_token(std::uint64_t token) {
    const double padded_s = (static_cast<double>(token) + 0.5) * seconds_per_token_;
    while (!gaps_.empty() && padded_s >= gaps_.front().from_s + gaps_.front().silence_s) {
      inserted_s_ += gaps_.front().silence_s;
      gaps_.pop_front();
    }
    if (!gaps_.empty() && padded_s >= gaps_.front().from_s) return gaps_.front().fed_s;  // inside inserted silence
    return padded_s - inserted_s_;
  }

 private:
  struct Gap {
    double from_s, fed_s, silence_s;
  };
  double seconds_per_token_, samples_per_second_;
  double inserted_s_ = 0.0;
  std::deque<Gap> gaps_;
};

}  // namespace voxtral_edge
