// Two causal convolutions in front of the encoder, with carried tails (spec 4, steps 1 and 2).
#pragma once

#include <cstddef>
#include <vector>

#include "model/executor.h"
#include "model/linear.h"

namespace voxtral_edge {

// Per stream: the last 2 mel frames and the last conv1 output; zeros at the start.
struct ConvTails {
  std::vector<float> mel;    // [2][mel_bins]
  std::vector<float> conv1;  // [1][width], after GELU
  void clear();
};

// Frames are rows, so a kernel of 3 over consecutive frames is a matrix product whose input rows overlap: no im2col
// copy.
class ConvStem {
 public:
  // Both have float weights (no quantisation needs the rows apart). conv1 [width, 3 * mel_bins], conv2 [width, 3 *
  // width]: kernel taps in time order, channels within a tap.
  ConvStem(Linear conv1, Linear conv2, std::size_t mel_bins, std::size_t width);

  ConvTails make_tails() const;
  std::size_t weight_bytes() const { return conv1_.bytes() + conv2_.bytes(); }
  // mel [mel_frames][mel_bins], mel_frames even and <= 2 kMaxPassRows -> out [mel_frames / 2][width]; updates tails.
  void forward(Executor& executor, const float* mel, std::size_t mel_frames, ConvTails& tails, float* out);

 private:
  Linear conv1_, conv2_;
  std::size_t mel_bins_, width_;
  std::vector<float> mel_, hidden_;  // scratch: tail + frames; tail + conv1 outputs
};

}  // namespace voxtral_edge
