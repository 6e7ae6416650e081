#include "model/adapter.h"

#include <algorithm>

namespace voxtral_edge {

Adapter::Adapter(Linear linear1, Linear linear2)
    : linear1_(std::move(linear1)),
      linear2_(std::move(linear2)),
      hidden_(kMaxPassRows * linear1_.output_stride()),
      product_(kMaxPassRows * linear2_.output_stride()) {}

void Adapter::forward(Executor& executor, const float* frames, std::size_t tokens, float* out) {
  linear1_.apply(executor, frames, tokens, linear1_.input_width(), hidden_.data(), linear1_.output_stride());
  executor.for_rows(tokens, [&](std::size_t r) {
    executor.kernels().gelu(&hidden_[r * linear1_.output_stride()], linear1_.output_width());
  });
  linear2_.apply(executor, hidden_.data(), tokens, linear1_.output_stride(), product_.data(), linear2_.output_stride());
  for (std::size_t r = 0; r < tokens; ++r) {
    std::copy_n(&product_[r * linear2_.output_stride()], linear2_.output_width(), out + r * linear2_.output_width());
  }
}

}  // namespace voxtral_edge
