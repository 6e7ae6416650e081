// The pre-norm transformer that encoder and decoder share: RMSNorm, grouped-query attention over a KV ring, SwiGLU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "model/executor.h"
#include "model/kv_ring.h"
#include "model/linear.h"
#include "model/rope.h"

namespace voxtral_edge {

struct StackShape {
  std::size_t layers, width, heads, kv_heads, head_dim, ffn_width;
  std::size_t window;
  float norm_eps;
  double rope_theta;
};

struct StackLayer {
  std::vector<float> attention_norm;  // [width]
  Linear qkv;                         // [heads + 2 kv_heads, head_dim] rows: q, k, v
  Linear output;                      // [width, heads * head_dim]
  std::vector<float> ffn_norm;        // [width]
  Linear gate, up;                    // [ffn_width, width]
  Linear down;                        // [width, ffn_width]
};

// One row of a pass: an encoder frame or a decoder position of some stream. Rows of one stream stand
// together, at consecutive positions.
struct PassRow {
  KvRing* ring;
  std::uint64_t position;
  const float* delay_scales;  // g [layers][width] of spec 5, or null where the stack is not conditioned
};

class TransformerStack {
 public:
  TransformerStack(const StackShape& shape, std::vector<StackLayer> layers, std::vector<float> final_norm);

  const StackShape& shape() const { return shape_; }
  std::size_t weight_bytes() const;
  // x [rows][width] residual stream in place; out [rows][width] after the final norm. rows.size() <= kMaxPassRows.
  void forward(Executor& executor, std::span<const PassRow> rows, float* x, float* out);

 private:
  void attention(Executor& executor, std::size_t layer, std::span<const PassRow> rows, float* x);
  void feed_forward(Executor& executor, std::size_t layer, std::span<const PassRow> rows, float* x);
  // f(kv_head, begin, end, thread) for rows [begin, end) of every head, divided among the threads.
  template <class F>
  void for_head_rows(Executor& executor, std::size_t rows, F f) const;
  // Rotates the row's key and stores it with its value.
  void store_key_value(const Kernels& kernels, std::size_t layer, const PassRow& row, std::size_t row_index,
                       std::size_t kv_head);
  // Attends with the row `begin` and those after it that are of the same stream; returns how many it took.
  std::size_t attend_rows(Executor& executor, std::size_t layer, std::span<const PassRow> rows, std::size_t begin,
                          std::size_t kv_head, std::size_t thread);

  StackShape shape_;
  std::vector<StackLayer> layers_;
  std::vector<float> final_norm_;
  Rope rope_;
  // Scratch of one pass, guarded by the engine's pass lock. Strides in floats.
  std::size_t projection_stride_;
  std::vector<float> normed_, projected_, attended_, hidden_, cosines_, sines_;
};

}  // namespace voxtral_edge
