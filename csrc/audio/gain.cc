#include "audio/gain.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"

namespace voxtral_edge {
namespace {

constexpr std::size_t kBlockSamples = 320;  // 20 ms
constexpr float kMostDecibels = 60.0f;
constexpr float kTargetDecibels = -22.0f, kLeastGain = -12.0f, kMostGain = 30.0f;
constexpr float kSpeechAboveFloor = 9.0f;
constexpr float kQuietest = -75.0f;           // below it there is nothing to amplify: 16-bit noise lies at -98 dBFS
constexpr float kFloorRise = 0.02f;           // decibels per block: 1 dB/s, so that pauses between words hold it down
constexpr std::uint64_t kMemoryBlocks = 150;  // 3 s of speech
// Of speech: 100 ms before the gain moves (an onset is softer than what follows), quickly until 600 ms, so that the
// first word is caught, then 5 dB/s.
constexpr std::uint64_t kOnsetBlocks = 5, kFirstBlocks = 30;
constexpr float kFirstSlew = 1.5f, kSlew = 0.1f;  // decibels per block

float to_decibels(double power) { return static_cast<float>(10.0 * std::log10(std::max(power, 1e-12))); }
float to_factor(float decibels) { return std::pow(10.0f, decibels / 20.0f); }

}  // namespace

Gain::Gain(const GainOptions& options)
    : automatic_(!options.decibels.has_value()), fixed_decibels_(options.decibels.value_or(0.0f)) {
  if (!(std::abs(fixed_decibels_) <= kMostDecibels)) {
    throw Error(ErrorCode::usage, "gain: " + std::to_string(fixed_decibels_) + " dB is outside -60 .. 60");
  }
  reset();
}

void Gain::reset() {
  decibels_ = next_decibels_ = fixed_decibels_;
  factor_ = to_factor(fixed_decibels_);
  step_ = 0.0f;
  block_power_ = 0.0;
  block_samples_ = 0;
  floor_decibels_ = 0.0f;
  speech_power_ = 0.0f;
  speech_blocks_ = 0;
}

void Gain::apply(std::span<float> samples) {
  if (!automatic_) {
    if (fixed_decibels_ == 0.0f) return;
    for (float& sample : samples) sample = std::clamp(sample * factor_, -1.0f, 1.0f);
    return;
  }
  for (float& sample : samples) {
    block_power_ += static_cast<double>(sample) * sample;
    sample = std::clamp(sample * factor_, -1.0f, 1.0f);
    factor_ += step_;
    if (++block_samples_ == kBlockSamples) {
      follow(static_cast<float>(block_power_ / kBlockSamples));
      block_power_ = 0.0;
      block_samples_ = 0;
    }
  }
}

// A block is over: what it says about background and speech, and the gain that the next one reaches.
void Gain::follow(float power) {
  const float level = to_decibels(power);
  floor_decibels_ = std::min(level, floor_decibels_ + kFloorRise);
  if (level > floor_decibels_ + kSpeechAboveFloor && level > kQuietest) {
    const auto memory = static_cast<float>(std::min(++speech_blocks_, kMemoryBlocks));
    speech_power_ += (power - speech_power_) / memory;
  }
  decibels_ = next_decibels_;
  if (speech_blocks_ >= kOnsetBlocks) {
    const float wanted = std::clamp(kTargetDecibels - to_decibels(speech_power_), kLeastGain, kMostGain);
    const float slew = speech_blocks_ <= kFirstBlocks ? kFirstSlew : kSlew;
    next_decibels_ = std::clamp(wanted, decibels_ - slew, decibels_ + slew);
  }
  factor_ = to_factor(decibels_);
  step_ = (to_factor(next_decibels_) - factor_) / static_cast<float>(kBlockSamples);
}

}  // namespace voxtral_edge
