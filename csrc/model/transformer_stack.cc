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
  const std::size_t width = shape_.width, head_dim = shape_.head_dim;
  const Activations normed = weights.qkv.input(executor, Executor::Slot::input, normed_.data(), width);
  executor.for_rows(rows.size(), [&](std::size_t r) {
    kernels.rms_norm(x + r * width, weights.attention_norm.data(), nullptr, shape_.norm_eps, width,
                     &normed_[r * width]);
    normed.take(kernels, r);
  });
  weights.qkv.apply(executor, normed, rows.size(), projected_.data(), projection_stride_);

  // All keys and values of a head are written before its queries attend: the ring has slack for kMaxPassRows. Both are
  // divided by heads first, then rows: neighbouring positions of a head share cache lines, and a thread reads keys that
  // it wrote. Where threads have whole heads, nobody waits for the others in between.
  const auto store = [&](std::size_t head, std::size_t begin, std::size_t end, std::size_t) {
    for (std::size_t r = begin; r < end; ++r) store_key_value(kernels, layer, rows[r], r, head);
  };
  const Activations attended =
      weights.output.input(executor, Executor::Slot::input, attended_.data(), shape_.heads * head_dim);
  const std::size_t columns = shape_.heads / shape_.kv_heads * head_dim;  // of one KV head's queries
  const bool whole_blocks = columns % kBlockColumns == 0;                 // else two heads share a quantised block
  const auto attend = [&](std::size_t head, std::size_t begin, std::size_t end, std::size_t thread) {
    for (std::size_t r = begin; r < end;) r += attend_rows(executor, layer, rows.first(end), r, head, thread);
    for (std::size_t r = begin; whole_blocks && r < end; ++r) attended.take(kernels, r, head * columns, columns);
  };
  if (shape_.kv_heads % executor.pool().size() == 0) {
    for_head_rows(executor, rows.size(), [&](auto... share) {
      store(share...);
      attend(share...);
    });
  } else {
    for_head_rows(executor, rows.size(), store);
    for_head_rows(executor, rows.size(), attend);
  }
  if (!whole_blocks) executor.for_rows(rows.size(), [&](std::size_t r) { attended.take(kernels, r); });
  weights.output.add_to(executor, attended, rows.size(), x, width);
}

template <class F>
void TransformerStack::for_head_rows(Executor& executor, std::size_t rows, F f) const {
  ThreadPool& pool = executor.pool();
  pool.run([&](std::size_t thread) {
    const auto [begin, end] = pool.share(rows * shape_.kv_heads, thread);
    for (std::size_t task = begin; task < end;) {
      const std::size_t head = task / rows, first = task % rows, last = std::min(rows, first + end - task);
      f(head, first, last, thread);
      task += last - first;
    }
  });
}

void TransformerStack::store_key_value(const Kernels& kernels, std::size_t layer, const PassRow& row,
                                       std::size_t row_index, std::size_t kv_head) {
  const std::size_t head_dim = shape_.head_dim, half = rope_.half();
  float* key = &projected_[row_index * projection_stride_ + (shape_.heads + kv_head) * head_dim];
  rope_.rotate(key, &cosines_[row_index * half], &sines_[row_index * half], key);
  row.ring->write(kernels, layer, kv_head, row.position, key, key + shape_.kv_heads * head_dim);
}

std::size_t TransformerStack::attend_rows(Executor& executor, std::size_t layer, std::span<const PassRow> rows,
                                          std::size_t begin, std::size_t kv_head, std::size_t thread) {
  const KvRing& ring = *rows[begin].ring;
  const std::size_t head_dim = shape_.head_dim, padded = ring.head_dim_padded(), half = rope_.half();
  const std::size_t queries = shape_.heads / shape_.kv_heads, most = Executor::attention_rows(queries);
  std::size_t count = 1;
  while (count < most && begin + count < rows.size() && rows[begin + count].ring == &ring) ++count;
  float* rotated = executor.attention_scratch(thread);  // [count][queries][padded]
  float* result = rotated + most * queries * padded;    // [count][queries][padded]
  float* scratch = result + most * queries * padded;
  for (std::size_t r = 0; r < count; ++r) {
    const float* q = &projected_[(begin + r) * projection_stride_ + kv_head * queries * head_dim];
    const float *cosines = &cosines_[(begin + r) * half], *sines = &sines_[(begin + r) * half];
    for (std::size_t i = 0; i < queries; ++i) {
      float* to = rotated + (r * queries + i) * padded;
      rope_.rotate(q + i * head_dim, cosines, sines, to);
      std::fill(to + head_dim, to + padded, 0.0f);
    }
  }
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  const AttentionRows in{rotated,       count, queries, padded, rows[begin].position, ring.first_position(),
                         ring.window(), scale};
  executor.kernels().attend(ring.head(layer, kv_head), in, scratch, result);
  for (std::size_t r = 0; r < count; ++r) {
    float* out = &attended_[((begin + r) * shape_.heads + kv_head * queries) * head_dim];
    for (std::size_t i = 0; i < queries; ++i)
      std::copy_n(result + (r * queries + i) * padded, head_dim, out + i * head_dim);
  }
  return count;
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
                                     const std::size_t at = r * Executor::chunk_columns(rows.size());
                                     kernels.silu_multiply(gate + at, up + at, count, &hidden_[r * ffn + first]);
                                     hidden.take(kernels, r, first, count);
                                   }
                                 });
  weights.down.add_to(executor, hidden, rows.size(), x, width);
}

}  // namespace voxtral_edge
