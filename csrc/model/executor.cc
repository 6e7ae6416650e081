#include "model/executor.h"

#include <algorithm>

namespace voxtral_edge {

Executor::Executor(const Kernels& kernels, std::size_t threads, std::size_t max_columns,
                   std::size_t max_queries_per_kv_head, std::size_t max_head_dim)
    : kernels_(kernels), pool_(threads) {
  const std::size_t columns = round_up(max_columns, kTileColumns);
  const std::size_t blocks = columns / kBlockColumns;
  for (QuantizedBuffers& buffers : quantized_) {
    buffers.values = AlignedBuffer(kMaxPassRows * columns);
    buffers.scales = AlignedBuffer(kMaxPassRows * blocks * sizeof(float));
    buffers.sums = AlignedBuffer(kMaxPassRows * blocks * sizeof(std::int32_t));
  }
  chunks_ = AlignedBuffer(pool_.size() * 2 * chunk_columns(1) * sizeof(float));
  const std::size_t head = round_up(max_head_dim, 16);
  const std::size_t lines = std::max(kAttentionLines, max_queries_per_kv_head);
  attention_floats_per_thread_ = round_up(2 * lines * head + attention_scratch_floats(head), 16);
  attention_ = AlignedBuffer(pool_.size() * attention_floats_per_thread_ * sizeof(float));
}

Activations Executor::activations(Slot slot, const float* x, std::size_t columns, std::size_t stride, bool quantized) {
  if (!quantized) return {x, stride, columns, {}};
  QuantizedBuffers& buffers = quantized_[static_cast<std::size_t>(slot)];
  return {x,
          stride,
          columns,
          {buffers.values.as<std::int8_t>(), buffers.scales.as<float>(), buffers.sums.as<std::int32_t>(),
           round_up(columns, kTileColumns)}};
}

void Activations::take(const Kernels& kernels, std::size_t row, std::size_t first, std::size_t count) const {
  if (quantized.values == nullptr) return;
  const std::size_t padded = quantized.padded_columns, block = (row * padded + first) / kBlockColumns;
  const QuantizedRows piece{quantized.values + row * padded + first, quantized.scales + block, quantized.sums + block,
                            first + count == columns ? padded - first : count};
  kernels.quantize_rows(floats + row * stride + first, 1, count, stride, piece);
}

}  // namespace voxtral_edge
