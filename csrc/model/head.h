// The tied output head with the choice of the token fused in: logits of a chunk are reduced while they are in cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"
#include "model/executor.h"
#include "model/linear.h"

namespace voxtral_edge {

struct TokenChoice {
  std::uint32_t id = 0;      // argmax, lowest id on a tie
  float probability = 0.0f;  // its softmax probability
};

class Head {
 public:
  Head(const Linear& embedding, std::size_t vocab_size, std::size_t threads);

  // x [rows][width] -> choices [rows]. logits [rows]: where a row's logits [vocab_size] go, null where nobody asks.
  void forward(Executor& executor, const float* x, std::size_t rows, TokenChoice* choices, float* const* logits);

 private:
  static constexpr std::size_t kChunkGroups = 64;  // 1024 logits: 4 KB a row, so a chunk of 16 rows stays in L1/L2

  const Linear& embedding_;
  std::size_t vocab_size_, chunks_;
  AlignedBuffer chunk_logits_;     // [threads][kMaxPassRows][1024]
  std::vector<LogitStats> stats_;  // [kMaxPassRows][chunks]
};

// The choice among chunks of logits, merged in chunk order so that it does not depend on the number of threads.
// Error(model_format) if a logit is NaN or infinite: a stream must not go on in a model that computes nothing.
TokenChoice choose_token(const LogitStats* chunks, std::size_t count, std::size_t chunk_size);

}  // namespace voxtral_edge
