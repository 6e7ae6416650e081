// The audio front end: values of specification 3.1, an independent computation, and chunking.
#include "audio/log_mel.h"

#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "check.h"
#include "engine_testing.h"

namespace voxtral_edge {
namespace {

constexpr std::size_t kBins = 128;

AudioConfig audio() {
  AudioConfig config = check::tiny_config().audio;
  config.samples_per_token = 1280;
  config.mel_frames_per_token = 8;
  return config;
}

// All frames of `samples`, pushed in pieces of `piece` with room for `room` frames per call.
std::vector<float> frames_of(LogMel& mel, std::span<const float> samples, std::size_t piece, std::size_t room) {
  std::vector<float> frames, block(room * kBins);
  while (!samples.empty()) {
    std::span<const float> rest = samples.first(std::min(piece, samples.size()));
    samples = samples.subspan(rest.size());
    for (;;) {
      const LogMel::Progress done = mel.push(rest, block.data(), room);
      frames.insert(frames.end(), block.begin(), block.begin() + static_cast<std::ptrdiff_t>(done.frames * kBins));
      rest = rest.subspan(done.samples);
      if (rest.empty() && done.frames < room) break;
    }
  }
  return frames;
}

std::vector<float> frames_of(std::span<const float> samples) {
  LogMel mel(audio(), kBins);
  return frames_of(mel, samples, samples.size(), 64);
}

// Frame `frame` straight from the text of specification 3.1, in long double.
std::vector<double> frame_by_definition(std::span<const float> samples, std::size_t frame) {
  constexpr long double pi = std::numbers::pi_v<long double>;
  std::vector<long double> window(400);
  for (std::size_t i = 0; i < 400; ++i) {
    const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(160 * frame + i) - 200;
    const bool inside = at >= 0 && at < static_cast<std::ptrdiff_t>(samples.size());
    const long double hann = 0.5L - 0.5L * std::cos(2.0L * pi * static_cast<long double>(i) / 400.0L);
    window[i] = inside ? hann * samples[static_cast<std::size_t>(at)] : 0.0L;
  }
  const MelFilters filters(kBins, 400, 16000.0);
  std::vector<long double> energy(kBins);
  for (std::size_t k = 0; k <= 200; ++k) {
    long double re = 0, im = 0;
    for (std::size_t i = 0; i < 400; ++i) {
      re += window[i] * std::cos(2.0L * pi * static_cast<long double>((i * k) % 400) / 400.0L);
      im -= window[i] * std::sin(2.0L * pi * static_cast<long double>((i * k) % 400) / 400.0L);
    }
    for (std::size_t m = 0; m < kBins; ++m) energy[m] += (re * re + im * im) * filters.weight(k, m);
  }
  std::vector<double> result;
  for (const long double e : energy) {
    result.push_back(static_cast<double>((std::max(std::log10(std::max(e, 1e-10L)), -6.5L) + 4.0L) / 4.0L));
  }
  return result;
}

}  // namespace

TEST("filter bank: the check values of specification 3.1") {
  const MelFilters bank(kBins, 400, 16000.0);
  double sum = 0.0, largest = 0.0;
  std::size_t nonzero = 0, largest_bin = 0, largest_filter = 0;
  for (std::size_t m = 0; m < kBins; ++m) {
    std::size_t bins = 0;
    for (std::size_t k = 0; k <= 200; ++k) {
      const double weight = bank.weight(k, m);
      CHECK(weight >= 0.0);
      bins += weight > 0.0 ? 1 : 0;
      sum += weight;
      if (weight > largest) largest = weight, largest_bin = k, largest_filter = m;
    }
    CHECK(bins >= 1 && bins <= 9);
    nonzero += bins;
    CHECK_EQ(bank.weight(0, m), 0.0);
    CHECK_EQ(bank.weight(200, m), 0.0);
  }
  CHECK_EQ(nonzero, 394u);
  CHECK_NEAR(sum, 3.19098553, 1e-8);
  CHECK_NEAR(largest, 0.04168175, 1e-8);
  CHECK_EQ(largest_bin, 7u);
  CHECK_EQ(largest_filter, 11u);
  CHECK_NEAR(bank.weight(1, 0), 0.01237399, 1e-8);
  CHECK_NEAR(bank.weight(1, 1), 0.03039256, 1e-8);
  CHECK_NEAR(bank.weight(199, 127), 0.00111428, 1e-8);
}

TEST("filter bank: apply is the dense product") {
  const MelFilters bank(80, 512, 22050.0);  // another geometry than the model's
  check::Numbers numbers(3);
  std::vector<double> power(257), energy(80);
  for (double& p : power) p = numbers.between(0.0f, 5.0f);
  bank.apply(power.data(), energy.data());
  for (std::size_t m = 0; m < 80; ++m) {
    double expected = 0.0;
    for (std::size_t k = 0; k < 257; ++k) expected += power[k] * bank.weight(k, m);
    CHECK_NEAR(energy[m], expected, 1e-12);
  }
}

TEST("silence is -0.625 exactly in every bin") {
  const std::vector<float> frames = frames_of(std::vector<float>(1600 + 40));
  CHECK_EQ(frames.size(), 10u * kBins);
  for (const float value : frames) CHECK_EQ(value, -0.625f);
}

TEST("1 kHz sine of amplitude 0.5: the check values of specification 3.1") {
  std::vector<float> sine(16000 + 200);
  for (std::size_t i = 0; i < 16000; ++i) {
    sine[i] = static_cast<float>(0.5 * std::sin(2.0 * std::numbers::pi * 1000.0 * static_cast<double>(i) / 16000.0));
  }
  const std::vector<float> frames = frames_of(sine);
  CHECK_EQ(frames.size() / kBins, 101u);  // 100, and the one that the 200 zeros behind complete
  double sum = 0.0;
  std::size_t peak = 0;
  const float* frame = &frames[50 * kBins];
  for (std::size_t m = 0; m < kBins; ++m) {
    sum += frame[m];
    if (frame[m] > frame[peak]) peak = m;
  }
  CHECK_EQ(peak, 42u);
  CHECK_NEAR(frame[42], 1.474446, 2e-6);
  CHECK_NEAR(sum, -70.1504, 2e-4);
}

TEST("every frame equals the definition, at the start, inside and behind a loud clip") {
  const std::vector<float> samples = check::synthetic_audio(8000 + 40, 5);
  const std::vector<float> frames = frames_of(samples);
  CHECK_EQ(frames.size() / kBins, 50u);  // frame t needs samples up to 160 t + 199
  for (const std::size_t t : {0, 1, 2, 17, 31, 49}) {
    const std::vector<double> expected = frame_by_definition(samples, t);
    for (std::size_t m = 0; m < kBins; ++m) CHECK_NEAR(frames[t * kBins + m], expected[m], 1e-6);
  }
}

TEST("any chunking and any room gives the same bits") {
  const std::vector<float> samples = check::synthetic_audio(5000, 9);
  const std::vector<float> expected = frames_of(samples);
  for (const std::size_t piece : {1, 7, 159, 160, 161, 400, 1280, 1681, 4999}) {
    for (const std::size_t room : {1, 3, 64}) {
      LogMel mel(audio(), kBins);
      CHECK(frames_of(mel, samples, piece, room) == expected);
    }
  }
}

TEST("a frame comes out with the sample that completes it, not later") {
  LogMel mel(audio(), kBins);
  std::vector<float> block(4 * kBins);
  const float zero = 0.0f;
  for (std::uint64_t sample = 0, frames = 0; sample < 2000; ++sample) {
    frames += mel.push({&zero, 1}, block.data(), 4).frames;
    const std::uint64_t expected = sample + 1 < 200 ? 0 : (sample + 1 - 200) / 160 + 1;
    CHECK_EQ(frames, expected);
  }
}

TEST("reset forgets, whatever the absolute position") {
  const std::vector<float> samples = check::synthetic_audio(3000, 2);
  const std::vector<float> expected = frames_of(samples);
  LogMel mel(audio(), kBins);
  for (const std::uint64_t position : {0ull, 1ull, (1ull << 32) - 7, 1ull << 42, 1ull << 62}) {
    std::vector<float> block(kBins);
    mel.push(std::vector<float>(777, 0.9f), block.data(), 1);
    mel.reset(position);
    CHECK(frames_of(mel, samples, 333, 8) == expected);
  }
}

TEST("extreme but finite samples give finite frames") {
  for (const float level :
       {1e30f, -1e30f, std::numeric_limits<float>::max(), 1e-38f, std::numeric_limits<float>::denorm_min()}) {
    for (const float value : frames_of(std::vector<float>(2000, level))) CHECK(std::isfinite(value));
  }
}

}  // namespace voxtral_edge

CHECK_MAIN()
