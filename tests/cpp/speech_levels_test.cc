// Starts of words from the levels of the audio: pauses, connected speech, noise, limits, and pieces of any size.
#include "audio/speech_levels.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "check.h"

using namespace voxtral_edge;

namespace {

constexpr std::size_t kRate = 16000;

// Noise of a fixed sequence; `loudness` is its peak.
std::vector<float> noise(double seconds, float loudness) {
  std::vector<float> samples(static_cast<std::size_t>(std::lround(seconds * kRate)));
  std::uint32_t state = 12345;
  for (float& sample : samples) {
    state = state * 1664525u + 1013904223u;
    sample = loudness * (static_cast<float>(state >> 8) / 8388608.0f - 1.0f);
  }
  return samples;
}

SpeechLevels heard(std::initializer_list<std::vector<float>> parts, double history_s = 4.0) {
  SpeechLevels levels(kRate, history_s);
  for (const auto& part : parts) levels.push(part);
  return levels;
}

TEST("a pause before the word ends where it begins") {
  // speech to 0.6 s, pause to 1.0 s, the word to 1.4 s
  const SpeechLevels levels = heard({noise(0.6, 0.3f), noise(0.4, 1e-4f), noise(0.4, 0.3f)});
  CHECK_NEAR(levels.word_start(0.6, 1.4, 0.35), 1.0, 0.011);
  CHECK_NEAR(levels.word_start(0.52, 1.4, 0.35), 1.0, 0.011);  // the word before was marked a frame early
  CHECK_NEAR(levels.word_start(0.95, 1.4, 0.35), 1.0, 0.011);  // or late: the rest of the pause counts
}

TEST("background noise") {
  const SpeechLevels levels = heard({noise(0.6, 0.3f), noise(0.4, 0.03f), noise(0.4, 0.3f)});  // 20 dB
  CHECK_NEAR(levels.word_start(0.6, 1.4, 0.35), 1.0, 0.011);
  const SpeechLevels flat = heard({noise(1.4, 0.1f)});
  CHECK_NEAR(flat.word_start(0.6, 1.4, 0.35), 1.05, 1e-9);  // nothing to see: the estimate
  CHECK_NEAR(flat.word_start(1.2, 1.4, 0.35), 1.2, 1e-9);
}

TEST("connected speech begins where the word before ended") {
  // The closure of a stop, 50 ms, is no pause; without one, the word began where the one before it ended.
  const SpeechLevels levels = heard({noise(1.0, 1e-4f), noise(0.9, 0.3f), noise(0.05, 1e-4f), noise(0.25, 0.3f)});
  CHECK_NEAR(levels.word_start(1.7, 2.2, 0.35), 1.7, 1e-9);
  CHECK_NEAR(levels.word_start(1.2, 2.2, 0.35), 1.85, 1e-9);  // too long for one word without a pause: the estimate
  CHECK_NEAR(levels.word_start(0.0, 2.2, 0.35), 1.85, 1e-9);  // the pause before is out of the word's reach
  CHECK_NEAR(levels.word_start(0.5, 2.2, 0.55), 1.0, 0.011);  // for a longer word it is not
}

TEST("a closure in the second half of a word is no pause") {
  // "eight": 0.25 s of vowel, 0.1 s closed, a burst
  const SpeechLevels levels =
      heard({noise(0.5, 0.3f), noise(0.3, 1e-4f), noise(0.25, 0.3f), noise(0.1, 1e-4f), noise(0.05, 0.1f)});
  CHECK_NEAR(levels.word_start(0.5, 1.2, 0.355), 0.8, 0.011);
}

TEST("no start before the earliest time or behind the end") {
  const SpeechLevels levels = heard({noise(0.3, 1e-4f), noise(0.5, 0.3f)});
  for (int end = 0; end <= 100; ++end) {
    for (int earliest = 0; earliest <= end; ++earliest) {
      const double start = levels.word_start(0.01 * earliest, 0.01 * end, 0.3);
      CHECK(start >= 0.01 * earliest - 1e-9 && start <= 0.01 * end + 1e-9);
    }
  }
}

TEST("audio out of reach: the estimate") {
  SpeechLevels levels(kRate, 1.0);
  levels.push(noise(0.6, 0.3f));
  levels.push(noise(0.4, 1e-4f));
  levels.push(noise(0.4, 0.3f));
  CHECK_NEAR(levels.word_start(0.6, 1.4, 0.35), 1.0, 0.011);
  levels.push(noise(60.0, 0.3f));
  CHECK_NEAR(levels.word_start(0.6, 1.4, 0.35), 1.05, 1e-9);
  CHECK_NEAR(levels.word_start(10.0, 61.0, 20.0), 41.0, 1e-9);  // longer than is looked at
  levels.reset();
  CHECK_NEAR(levels.word_start(0.0, 1.0, 0.35), 0.65, 1e-9);
}

TEST("pieces of any size") {
  std::vector<float> all;
  for (const auto& part : {noise(0.63, 0.3f), noise(0.41, 1e-3f), noise(0.47, 0.2f), noise(2.0, 0.25f)}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  const SpeechLevels whole = heard({all});
  for (const std::size_t piece : {1u, 7u, 160u, 1281u}) {
    SpeechLevels levels(kRate, 4.0);
    const std::span<const float> samples(all);
    for (std::size_t i = 0; i < all.size(); i += piece) {
      levels.push(samples.subspan(i, std::min(piece, all.size() - i)));
      // What is asked for lies before what was pushed: later samples do not change it.
      if (i > 2 * kRate) CHECK(levels.word_start(0.6, 1.48, 0.4) == whole.word_start(0.6, 1.48, 0.4));
    }
  }
}

}  // namespace

CHECK_MAIN()
