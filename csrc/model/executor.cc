#include "model/executor.h"

namespace voxtral_edge {

Executor::Executor(const Kernels& kernels, std::size_t threads, std::size_t max_columns, std::size_t max_attention_keys,
                   std::size_t max_queries_per_kv_head, std::size_t max_head_dim)
    : kernels_(kernels), pool_(threads) {
  const std::size_t columns = round_up(max_columns, kTileColumns);
  const std::size_t blocks = columns / kBlockColumns;
  quantized_values_ = AlignedBuffer(kMaxPassRows * columns);
  quantized_scales_ = AlignedBuffer(kMaxPassRows * blocks * sizeof(float));
  quantized_sums_ = AlignedBuffer(kMaxPassRows * blocks * sizeof(std::int32_t));
  const std::size_t head = round_up(max_head_dim, 16);
  attention_floats_per_thread_ = max_queries_per_kv_head * (2 * head + round_up(max_attention_keys, 16)) + 64;
  attention_ = AlignedBuffer(pool_.size() * attention_floats_per_thread_ * sizeof(float));
}

const QuantizedRows& Executor::quantize(const float* x, std::size_t rows, std::size_t columns, std::size_t stride) {
  const std::size_t padded = round_up(columns, kTileColumns);
  const std::size_t blocks = padded / kBlockColumns;
  quantized_ = {quantized_values_.as<std::int8_t>(), quantized_scales_.as<float>(), quantized_sums_.as<std::int32_t>(),
                padded};
  for_rows(rows, [&](std::size_t row) {
    const QuantizedRows one{quantized_.values + row * padded, quantized_.scales + row * blocks,
                            quantized_.sums + row * blocks, padded};
    kernels_.quantize_rows(x + row * stride, 1, columns, stride, one);
  });
  return quantized_;
}

}  // namespace voxtral_edge
