#include "audio/speech_levels.h"

#include <algorithm>
#include <cmath>

namespace voxtral_edge {
namespace {

constexpr double kFramesPerSecond = 100.0;
constexpr float kPreEmphasis = 0.97f;
constexpr double kSilence = 1e-10;         // mean square of digital silence: -100 dB
constexpr std::uint64_t kPauseFrames = 8;  // 5 take closures inside "six" and "eight" for pauses
constexpr float kDepth = 0.8f, kLargestDrop_dB = 25.0f, kSmallestContrast_dB = 10.0f;

// Short words are drawn out the most: a slow "seven" takes twice its typical 0.36 s.
double longest_between_pauses(double typical_s) { return std::max(3.0 * typical_s, typical_s + 0.6); }
double longest_connected(double typical_s) { return std::max(2.0 * typical_s, typical_s + 0.3); }

std::uint64_t frame_of(double seconds) { return static_cast<std::uint64_t>(std::llround(seconds * kFramesPerSecond)); }

}  // namespace

SpeechLevels::SpeechLevels(std::size_t sample_rate_hz, double history_s)
    : frame_samples_(sample_rate_hz / static_cast<std::size_t>(kFramesPerSecond)),
      levels_(static_cast<std::size_t>(std::ceil((history_s + kLongestSearch_s) * kFramesPerSecond)) + 1) {}

void SpeechLevels::reset() {
  frames_ = 0;
  in_frame_ = 0;
  energy_ = 0.0;
  previous_ = 0.0f;
}

void SpeechLevels::push(std::span<const float> samples) {
  for (const float sample : samples) {
    const float emphasised = sample - kPreEmphasis * previous_;
    previous_ = sample;
    energy_ += static_cast<double>(emphasised) * static_cast<double>(emphasised);
    if (++in_frame_ < frame_samples_) continue;
    levels_[frames_ % levels_.size()] =
        static_cast<float>(10.0 * std::log10(energy_ / static_cast<double>(frame_samples_) + kSilence));
    ++frames_;
    in_frame_ = 0;
    energy_ = 0.0;
  }
}

double SpeechLevels::word_start(double earliest_s, double end_s, double typical_s) const {
  const double guess_s = std::max(earliest_s, end_s - typical_s);
  const double searched_s = std::min(longest_between_pauses(typical_s), kLongestSearch_s);
  const double from_s = std::max(earliest_s, end_s - searched_s);
  const std::uint64_t from = frame_of(from_s), end = std::min(frame_of(end_s), frames_);
  const std::uint64_t oldest = frames_ - std::min<std::uint64_t>(frames_, levels_.size());
  if (from < oldest || from + 3 > end) return guess_s;

  const std::uint64_t typical = frame_of(typical_s);
  float loudest = level(end - 1), quietest = loudest;
  for (std::uint64_t f = from; f < end; ++f) {
    if (f + typical >= end) loudest = std::max(loudest, level(f));
    quietest = std::min(quietest, level(f));
  }
  const float contrast = loudest - quietest;
  if (contrast < kSmallestContrast_dB) return guess_s;
  const float threshold = loudest - std::min(kLargestDrop_dB, kDepth * contrast);

  std::uint64_t pause = 0;  // length of the quiet run that begins at `f`
  for (std::uint64_t f = std::max(from + 1, end - std::min(end, typical / 2)); f-- > from;) {
    if (level(f) < threshold) {
      if (++pause == kPauseFrames) return static_cast<double>(f + pause) / kFramesPerSecond;
    } else {
      pause = 0;
    }
  }
  // Quiet at the very beginning: its pause may have begun before the word before it was marked as ended.
  if (pause > 0) return static_cast<double>(from + pause) / kFramesPerSecond;
  return end_s - earliest_s > longest_connected(typical_s) ? guess_s : earliest_s;
}

}  // namespace voxtral_edge
