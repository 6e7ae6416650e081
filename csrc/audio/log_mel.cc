#include "audio/log_mel.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace voxtral_edge {
namespace {

constexpr double kPowerFloor = 1e-10;  // spec 3.1 step 6
constexpr double kDynamicRange = 8.0;  // log10 units below log_mel_max

}  // namespace

LogMel::LogMel(const AudioConfig& audio, std::size_t mel_bins)
    : hop_samples_(audio.hop_samples),
      window_samples_(audio.window_samples),
      log_floor_(static_cast<double>(audio.log_mel_max) - kDynamicRange),
      dft_(audio.window_samples),
      filters_(mel_bins, audio.window_samples, static_cast<double>(audio.sample_rate_hz)),
      ring_(audio.window_samples + audio.samples_per_token),
      hann_(window_samples_),
      window_(window_samples_),
      power_(dft_.bins()),
      energy_(mel_bins),
      scratch_(dft_.scratch_size()) {
  for (std::size_t n = 0; n < window_samples_; ++n) {  // periodic Hann
    hann_[n] =
        0.5 - 0.5 * std::cos(2.0 * std::numbers::pi * static_cast<double>(n) / static_cast<double>(window_samples_));
  }
  reset();
}

void LogMel::reset(std::uint64_t first_sample) {
  ring_.reset(first_sample);
  // Half a window of zeros: the first frame is centred on the first sample.
  const std::vector<float> zeros(window_samples_ / 2, 0.0f);
  ring_.push(zeros);
}

LogMel::Progress LogMel::push(std::span<const float> samples, float* frames, std::size_t max_frames) {
  Progress done{0, 0};
  for (;;) {
    while (ring_.size() >= window_samples_ && done.frames < max_frames) {
      compute_frame(frames + done.frames * mel_bins());
      ring_.drop(hop_samples_);
      ++done.frames;
    }
    const std::size_t taken = ring_.push(samples.subspan(done.samples));
    done.samples += taken;
    const bool can_compute = ring_.size() >= window_samples_ && done.frames < max_frames;
    if (taken == 0 && !can_compute) return done;
  }
}

void LogMel::compute_frame(float* out) {
  ring_.peek(window_samples_, window_.data());
  for (std::size_t n = 0; n < window_samples_; ++n) window_[n] *= hann_[n];
  dft_.power(window_.data(), power_.data(), scratch_.data());
  filters_.apply(power_.data(), energy_.data());
  for (std::size_t m = 0; m < energy_.size(); ++m) {
    const double level = std::max(std::log10(std::max(energy_[m], kPowerFloor)), log_floor_);
    out[m] = static_cast<float>((level + 4.0) / 4.0);
  }
}

}  // namespace voxtral_edge
