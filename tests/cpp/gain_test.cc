// Loudness before the model: a fixed gain, and one that follows the speech whatever the chunking.
#include "audio/gain.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "base/error.h"
#include "check.h"

namespace voxtral_edge {
namespace {

constexpr std::size_t kRate = 16000;

// Bursts of a tone, 300 ms in every 500 ms, over noise 30 dB below.
std::vector<float> bursts(double seconds, double decibels, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<double> noise(0.0, 0.0316);
  const double amplitude = std::pow(10.0, decibels / 20.0);
  std::vector<float> samples(static_cast<std::size_t>(seconds * kRate));
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const double tone = i % 8000 < 4800 ? std::sqrt(2.0) * std::sin(0.3 * static_cast<double>(i)) : 0.0;
    samples[i] = static_cast<float>(amplitude * (tone + noise(random)));
  }
  return samples;
}

// Mean level of the tone in the last second, dBFS.
double level(const std::vector<float>& samples) {
  double power = 0.0;
  std::size_t count = 0;
  for (std::size_t i = samples.size() - kRate; i < samples.size(); ++i) {
    if (i % 8000 >= 4800) continue;
    power += static_cast<double>(samples[i]) * samples[i];
    ++count;
  }
  return 10.0 * std::log10(power / static_cast<double>(count));
}

std::vector<float> automatic(std::vector<float> samples) {
  Gain gain({std::nullopt});
  gain.apply(samples);
  return samples;
}

}  // namespace

TEST("0 dB leaves every bit; a fixed gain multiplies and limits") {
  std::vector<float> samples = {0.1f, -0.3f, 1.5f, -2.0f};
  const std::vector<float> before = samples;
  Gain none(GainOptions{});
  none.apply(samples);
  CHECK(samples == before);
  Gain twice({20.0f * std::log10(2.0f)});
  twice.apply(samples);
  CHECK_NEAR(samples[0], 0.2f, 1e-6f);
  CHECK_NEAR(samples[1], -0.6f, 1e-6f);
  CHECK_EQ(samples[2], 1.0f);
  CHECK_EQ(samples[3], -1.0f);
}

TEST("speech of any level between -52 and -10 dBFS comes to -22 within 1 dB; beyond, the limits hold") {
  for (const double decibels : {-50.0, -40.0, -30.0, -22.0, -11.0}) {
    CHECK_NEAR(level(automatic(bursts(15, decibels))), -22.0, 1.0);
  }
  CHECK_NEAR(level(automatic(bursts(15, -60.0))), -30.0, 1.0);
  CHECK_NEAR(level(automatic(bursts(15, -4.0))), -16.0, 1.0);
}

TEST("a change of level is followed, at most 5 dB per second") {
  std::vector<float> samples = bursts(10, -40.0);
  const std::vector<float> louder = bursts(20, -20.0, 2);
  samples.insert(samples.end(), louder.begin(), louder.end());
  const std::vector<float> out = automatic(samples);
  CHECK_NEAR(level(out), -22.0, 1.0);
  CHECK_NEAR(level({out.begin(), out.begin() + 10 * kRate}), -22.0, 1.0);
}

TEST("background alone is not amplified, silence stays silence") {
  for (const double decibels : {-80.0, -50.0}) {
    std::mt19937 random(3);
    std::normal_distribution<float> noise(0.0f, static_cast<float>(std::pow(10.0, decibels / 20.0)));
    std::vector<float> samples(20 * kRate);
    for (float& sample : samples) sample = noise(random);
    const std::vector<float> before = samples;
    CHECK(automatic(samples) == before);
  }
  const std::vector<float> zeros(kRate, 0.0f);
  CHECK(automatic(zeros) == zeros);
}

TEST("any chunking gives the same bits, and reset forgets") {
  const std::vector<float> samples = bursts(4, -45.0), whole = automatic(samples);
  for (const std::size_t piece : {1, 7, 319, 320, 321, 5000}) {
    std::vector<float> cut = samples;
    Gain gain({std::nullopt});
    for (std::size_t round = 0; round < 2; ++round) {
      cut = samples;
      for (std::size_t i = 0; i < cut.size(); i += piece) {
        gain.apply(std::span(cut).subspan(i, std::min(piece, cut.size() - i)));
      }
      CHECK(cut == whole);
      gain.reset();
    }
  }
}

TEST("decibels that are none are refused") {
  for (const float decibels : {60.1f, -61.0f, std::numeric_limits<float>::quiet_NaN()}) {
    CHECK_THROWS_CODE(Gain({decibels}), ErrorCode::usage);
  }
}

}  // namespace voxtral_edge

CHECK_MAIN()
