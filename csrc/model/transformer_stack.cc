#include "model/transformer_stack.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace voxtral_edge {

TransformerStack::TransformerStack(const StackShape& shape, std::vector<StackLayer> layers,
                                   std::vector<float> final_norm)
    : shape_(shape),
      layers_(std::move(layers)),
      final_norm_(std::move(final_norm)),
      rope_(shape.head_dim, shape.rope_theta),
      projection_stride_(layers_.front().qkv.output_stride()),
      normed_(kMaxPassRows * shape.width),
      projected_(kMaxPassRows * projection_stride_),
      attended_(kMaxPassRows * shape.heads * shape.head_dim),
      hidden_(kMaxPassRows * shape.ffn_width),
      cosines_(kMaxPassRows * rope_.half()),
      sines_(kMaxPassRows * rope_.half()) {}

std::size_t TransformerStack::weight_bytes() const {
  std::size_t bytes = 0;
  for (const StackLayer& layer : layers_) {
    bytes += layer.qkv.bytes() + layer.output.bytes() + layer.gate.bytes() + layer.up.bytes() + layer.down.bytes();
  }
  return bytes;
}

void TransformerStack::forward(Executor& executor, std::span<const PassRow> rows, float* x, float* out) {
  executor.for_rows(rows.size(), [&](std::size_t r) {
    rope_.angles(rows[r].position, &cosines_[r * rope_.half()], &sines_[r * rope_.half()]);
  });
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    attention(executor, layer, rows, x);
    feed_forward(executor, layer, rows, x);
  }
  executor.for_rows(rows.size(), [&](std::size_t r) {
    executor.kernels().rms_norm(x + r * shape_.width, final_norm_.data(), nullptr, shape_.norm_eps, shape_.width,
                                out + r * shape_.width);
  });
}

void TransformerStack::attention(Executor& executor, std::size_t layer, std::span<const PassRow> rows, float* x) {
  const StackLayer& weights = layers_[layer];
  const Kernels& kernels = executor.kernels();
  const std::size_t width = shape_.width, head_dim = shape_.head_dim, half = rope_.half();
  const Activations normed = weights.qkv.input(executor, Executor::Slot::input, normed_.data(), width);
  executor.for_rows(rows.size(), [&](std::size_t r) {
    kernels.rms_norm(x + r * width, weights.attention_norm.data(), nullptr, shape_.norm_eps, width,
                     &normed_[r * width]);
    normed.take(kernels, r);
  });
  weights.qkv.apply(executor, normed, rows.size(), projected_.data(), projection_stride_);

  // All keys and values of the pass are written before any query attends: the ring has slack for kMaxPassRows.
  executor.for_rows(rows.size(), [&](std::size_t r) {
    float* keys = &projected_[r * projection_stride_ + shape_.heads * head_dim];
    const float* values = keys + shape_.kv_heads * head_dim;
    for (std::size_t h = 0; h < shape_.kv_heads; ++h) {
      rope_.rotate(keys + h * head_dim, &cosines_[r * half], &sines_[r * half], keys + h * head_dim);
      rows[r].ring->write(kernels, layer, h, rows[r].position, keys + h * head_dim, values + h * head_dim);
    }
  });

  // Tasks ordered head-major: a thread that owns several rows of one head reads its keys from cache after the first.
  ThreadPool& pool = executor.pool();
  pool.run([&](std::size_t thread) {
    const auto [begin, end] = pool.share(rows.size() * shape_.kv_heads, thread);
    for (std::size_t task = begin; task < end; ++task) {
      const std::size_t r = task % rows.size();
      attend_head(executor, layer, rows[r], r, task / rows.size(), thread);
    }
  });

  const Activations attended =
      weights.output.input(executor, Executor::Slot::input, attended_.data(), shape_.heads * head_dim);
  executor.for_rows(rows.size(), [&](std::size_t r) { attended.take(kernels, r); });
  weights.output.add_to(executor, attended, rows.size(), x, width);
}

void TransformerStack::attend_head(Executor& executor, std::size_t layer, const PassRow& row, std::size_t row_index,
                                   std::size_t kv_head, std::size_t thread) {
  const std::size_t head_dim = shape_.head_dim, padded = row.ring->head_dim_padded(), half = rope_.half();
  const std::size_t queries = shape_.heads / shape_.kv_heads;
  float* rotated = executor.attention_scratch(thread);  // [queries][padded]
  float* result = rotated + queries * padded;           // [queries][padded]
  float* scores = result + queries * padded;
  const float* q = &projected_[row_index * projection_stride_ + kv_head * queries * head_dim];
  for (std::size_t i = 0; i < queries; ++i) {
    rope_.rotate(q + i * head_dim, &cosines_[row_index * half], &sines_[row_index * half], rotated + i * padded);
    std::fill(rotated + i * padded + head_dim, rotated + (i + 1) * padded, 0.0f);
  }
  KvSegment segments[2];
  const std::size_t count = row.ring->window(layer, kv_head, row.position, segments);
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  executor.kernels().attend(rotated, queries, padded, segments, count, row.ring->type(), scale, scores, result);
  float* out = &attended_[(row_index * shape_.heads + kv_head * queries) * head_dim];
  for (std::size_t i = 0; i < queries; ++i) std::copy_n(result + i * padded, head_dim, out + i * head_dim);
}

void TransformerStack::feed_forward(Executor& executor, std::size_t layer, std::span<const PassRow> rows, float* x) {
  const StackLayer& weights = layers_[layer];
  const Kernels& kernels = executor.kernels();
  const std::size_t width = shape_.width, ffn = shape_.ffn_width;
  const Activations normed = weights.gate.input(executor, Executor::Slot::input, normed_.data(), width);
  executor.for_rows(rows.size(), [&](std::size_t r) {
    const float* delay = rows[r].delay_scales ? rows[r].delay_scales + layer * width : nullptr;
    kernels.rms_norm(x + r * width, weights.ffn_norm.data(), delay, shape_.norm_eps, width, &normed_[r * width]);
    normed.take(kernels, r);
  });
  const Activations hidden = weights.down.input(executor, Executor::Slot::hidden, hidden_.data(), ffn);
  weights.gate.apply_chunks_with(weights.up, executor, normed, rows.size(), kBlockGroups,
                                 [&](std::size_t first, std::size_t count, const float* gate, const float* up) {
                                   for (std::size_t r = 0; r < rows.size(); ++r) {
                                     const std::size_t at = r * Executor::kChunkColumns;
                                     kernels.silu_multiply(gate + at, up + at, count, &hidden_[r * ffn + first]);
                                     hidden.take(kernels, r, first, count);
                                   }
                                 });
  weights.down.add_to(executor, hidden, rows.size(), x, width);
}

}  // namespace voxtral_edge
