// Encoder frames -> audio embeddings: groups of 4 frames, two linears with GELU between (spec 4, steps 5 and 6).
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "model/executor.h"
#include "model/linear.h"

namespace voxtral_edge {

class Adapter {
 public:
  Adapter(Linear linear1, Linear linear2);

  std::size_t weight_bytes() const { return linear1_.bytes() + linear2_.bytes(); }
  // frames [tokens * frames_per_token][encoder width], contiguous (a group of frames is one input row in time order)
  // -> out [tokens][decoder width]. tokens <= kMaxPassRows.
  void forward(Executor& executor, const float* frames, std::size_t tokens, float* out);

 private:
  Linear linear1_, linear2_;
  std::vector<float> hidden_;  // [kMaxPassRows][linear1's outputs], after GELU
};

}  // namespace voxtral_edge
