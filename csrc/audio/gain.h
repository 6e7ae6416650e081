// Loudness before the model: its front end has an absolute floor (spec 3.1), so quiet speech is heard badly. A slow
// gain, never a normalisation per piece, so that a stream and its recording are treated alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace voxtral_edge {

// What to do with the level of the samples.
struct GainOptions {
  // Decibels on every sample, -60 .. 60; none: follow the level of the speech, see Gain.
  std::optional<float> decibels = 0.0f;
};

// Automatic: blocks of 20 ms that stand out from the background by 9 dB count as speech; its mean power over about
// three seconds is brought to -22 dBFS, about the level of the recordings that speech models are trained on, by -12 ..
// +30 dB. The gain moves slowly (gain.cc) and is interpolated within a block; it acts one block late, so there is no
// delay. It depends on nothing but the samples before: any chunking gives the same bits.
class Gain {
 public:
  // Error(usage) for decibels out of range.
  explicit Gain(const GainOptions& options);

  void reset();
  // In place; results are limited to [-1, 1] where a gain was applied. Finite samples only. Allocation-free.
  void apply(std::span<float> samples);
  // The gain that the next samples start with.
  float decibels() const { return decibels_; }

 private:
  void follow(float power);

  bool automatic_;
  float fixed_decibels_;
  float decibels_, next_decibels_;       // at the start and at the end of this block
  float factor_, step_;                  // of the next sample, and what it grows by per sample
  double block_power_ = 0.0;             // sum of squares of this block
  std::size_t block_samples_ = 0;        // of this block so far
  float floor_decibels_, speech_power_;  // background; mean square of speech
  std::uint64_t speech_blocks_ = 0;
};

}  // namespace voxtral_edge
