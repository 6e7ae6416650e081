#include "model/adapter.h"

#include <algorithm>

namespace voxtral_edge {

Adapter::Adapter(Linear linear1, Linear linear2)
    : linear1_(std::move(linear1)), linear2_(std::move(linear2)), hidden_(kMaxPassRows * linear1_.output_width()) {}

void Adapter::forward(Executor& executor, const float* frames, std::size_t tokens, float* out) {
  const Kernels& kernels = executor.kernels();
  const std::size_t hidden_width = linear1_.output_width(), width = linear2_.output_width();
  const Activations input = linear1_.input(executor, Executor::Slot::input, frames, linear1_.input_width());
  executor.for_rows(tokens, [&](std::size_t r) { input.take(kernels, r); });
  const Activations hidden = linear2_.input(executor, Executor::Slot::hidden, hidden_.data(), hidden_width);
  linear1_.apply_chunks(executor, input, tokens, kBlockGroups,
                        [&](std::size_t first, std::size_t count, const float* chunk) {
                          for (std::size_t r = 0; r < tokens; ++r) {
                            float* y = &hidden_[r * hidden_width + first];
                            std::copy_n(chunk + r * Executor::chunk_columns(tokens), count, y);
                            kernels.gelu(y, count);
                            hidden.take(kernels, r, first, count);
                          }
                        });
  linear2_.apply_chunks(executor, hidden, tokens, 1, [&](std::size_t first, std::size_t count, const float* chunk) {
    for (std::size_t r = 0; r < tokens; ++r)
      std::copy_n(chunk + r * Executor::chunk_columns(tokens), count, out + r * width + first);
  });
}

}  // namespace voxtral_edge
