#include "model/head.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace voxtral_edge {

Head::Head(const Linear& embedding, std::size_t vocab_size, std::size_t threads)
    : embedding_(embedding),
      vocab_size_(vocab_size),
      chunks_((embedding.weight().groups() + kChunkGroups - 1) / kChunkGroups),
      chunk_logits_(threads * kMaxPassRows * kChunkGroups * kGroupRows * sizeof(float)),
      stats_(kMaxPassRows * chunks_) {}

void Head::forward(Executor& executor, const float* x, std::size_t rows, TokenChoice* choices, float* const* logits) {
  const std::size_t width = embedding_.input_width(), chunk_size = kChunkGroups * kGroupRows;
  const Activations activations = embedding_.input(executor, Executor::Slot::input, x, width);
  executor.for_rows(rows, [&](std::size_t r) { activations.take(executor.kernels(), r); });
  executor.pool().run_pieces(chunks_, 1, 1, [&](std::size_t thread, std::size_t begin, std::size_t end) {
    float* y = chunk_logits_.as<float>() + thread * kMaxPassRows * chunk_size;
    for (std::size_t chunk = begin; chunk < end; ++chunk) {
      const std::size_t first = chunk * kChunkGroups;
      const std::size_t last = std::min(first + kChunkGroups, embedding_.weight().groups());
      embedding_.apply_groups(executor.kernels(), activations, rows, first, last, y, chunk_size);
      const std::size_t count = std::min(vocab_size_ - chunk * chunk_size, chunk_size);
      for (std::size_t r = 0; r < rows; ++r) {
        stats_[r * chunks_ + chunk] = executor.kernels().logit_stats(y + r * chunk_size, count);
        if (logits[r] != nullptr) std::copy_n(y + r * chunk_size, count, logits[r] + chunk * chunk_size);
      }
    }
  });
  for (std::size_t r = 0; r < rows; ++r) choices[r] = choose_token(&stats_[r * chunks_], chunks_, chunk_size);
}

TokenChoice choose_token(const LogitStats* chunks, std::size_t count, std::size_t chunk_size) {
  std::size_t best = 0;
  for (std::size_t c = 1; c < count; ++c) {
    if (chunks[c].max > chunks[best].max) best = c;
  }
  float sum = 0.0f;
  for (std::size_t c = 0; c < count; ++c) sum += chunks[c].sum_exp * std::exp(chunks[c].max - chunks[best].max);
  if (!(sum > 0.0f)) {  // NaN, from a NaN or an infinity anywhere
    throw Error(ErrorCode::model_format,
                "the model computes logits that are not finite numbers: its weights are damaged, or its activations"
                " leave the range of float32; check the package with `voxtral-edge verify`, or export it again");
  }
  return {static_cast<std::uint32_t>(best * chunk_size) + chunks[best].argmax, 1.0f / sum};
}

}  // namespace voxtral_edge
