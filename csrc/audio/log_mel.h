// Incremental log-mel spectrogram on the model's fixed grid (spec 3.1, 3.3).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "audio/mel_filters.h"
#include "audio/real_dft.h"
#include "audio/sample_ring.h"
#include "package/model_config.h"

namespace voxtral_edge {

// Frame t (10 ms) is centred on sample 160 t and needs samples [160 t - 200, 160 t + 200); samples before the first are
// zero. A frame is computed from the same numbers whatever the chunks were, so every chunking gives the same bits.
class LogMel {
 public:
  LogMel(const AudioConfig& audio, std::size_t mel_bins);

  std::size_t mel_bins() const { return filters_.filters(); }

  // Appends samples, 16 kHz mono in [-1, 1], and writes the frames that became complete, frame-major
  // [frame][mel_bins], to `frames`, at most max_frames. Returns {samples taken, frames written}; call again with the
  // rest once frames were consumed.
  struct Progress {
    std::size_t samples, frames;
  };
  Progress push(std::span<const float> samples, float* frames, std::size_t max_frames);

  // Back to an empty stream whose first sample has this absolute position.
  void reset(std::uint64_t first_sample = 0);

 private:
  void compute_frame(float* out);

  std::size_t hop_samples_, window_samples_;
  double log_floor_;  // log_mel_max - 8 (spec 3.1 step 7)
  RealDft dft_;
  MelFilters filters_;
  SampleRing ring_;
  std::vector<double> hann_, window_, power_, energy_, scratch_;
};

}  // namespace voxtral_edge
