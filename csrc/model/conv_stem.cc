#include "model/conv_stem.h"

#include <algorithm>
#include <utility>

namespace voxtral_edge {
namespace {

constexpr std::size_t kKernel = 3;
constexpr std::size_t kConv1Tail = 2;  // kernel - stride 1
constexpr std::size_t kConv2Tail = 1;  // kernel - stride 2
constexpr std::size_t kMaxMelFrames = 2 * kMaxPassRows;

}  // namespace

void ConvTails::clear() {
  std::fill(mel.begin(), mel.end(), 0.0f);
  std::fill(conv1.begin(), conv1.end(), 0.0f);
}

ConvStem::ConvStem(Linear conv1, Linear conv2, std::size_t mel_bins, std::size_t width)
    : conv1_(std::move(conv1)),
      conv2_(std::move(conv2)),
      mel_bins_(mel_bins),
      width_(width),
      mel_((kConv1Tail + kMaxMelFrames) * mel_bins),
      hidden_((kConv2Tail + kMaxMelFrames) * width) {}

ConvTails ConvStem::make_tails() const {
  return {std::vector<float>(kConv1Tail * mel_bins_), std::vector<float>(kConv2Tail * width_)};
}

void ConvStem::forward(Executor& executor, const float* mel, std::size_t mel_frames, ConvTails& tails, float* out) {
  std::copy(tails.mel.begin(), tails.mel.end(), mel_.begin());
  std::copy_n(mel, mel_frames * mel_bins_, mel_.begin() + kConv1Tail * mel_bins_);
  std::copy(tails.conv1.begin(), tails.conv1.end(), hidden_.begin());
  const Kernels& kernels = executor.kernels();

  const auto convolve = [&](const Linear& conv, const float* x, std::size_t x_stride, std::size_t rows, float* y) {
    for (std::size_t done = 0; done < rows; done += kMaxPassRows) {
      const std::size_t count = std::min(rows - done, kMaxPassRows);
      const Activations input = conv.input(executor, Executor::Slot::input, x + done * x_stride, x_stride);
      conv.apply_chunks(executor, input, count, 1, [&](std::size_t first, std::size_t columns, const float* chunk) {
        for (std::size_t r = 0; r < count; ++r) {
          float* piece = y + (done + r) * width_ + first;
          std::copy_n(chunk + r * Executor::chunk_columns(count), columns, piece);
          kernels.gelu(piece, columns);
        }
      });
    }
  };
  convolve(conv1_, mel_.data(), mel_bins_, mel_frames, &hidden_[kConv2Tail * width_]);
  convolve(conv2_, hidden_.data(), 2 * width_, mel_frames / 2, out);

  std::copy_n(&mel_[mel_frames * mel_bins_], kConv1Tail * mel_bins_, tails.mel.begin());
  std::copy_n(&hidden_[mel_frames * width_], kConv2Tail * width_, tails.conv1.begin());
}

static_assert(kKernel == kConv1Tail + 1 && kKernel == kConv2Tail + 2);

}  // namespace voxtral_edge
