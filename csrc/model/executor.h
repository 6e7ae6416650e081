// What a forward pass runs on: the chosen kernels, the thread pool and one set of scratch buffers.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "kernels/kernels.h"

namespace voxtral_edge {

// Rows (encoder frames or decoder positions, of one or several streams) that share one pass over the weights. 64 holds
// the longest prompt (63 positions at 2400 ms) and 16 tokens of encoder frames.
inline constexpr std::size_t kMaxPassRows = 64;

inline constexpr std::size_t round_up(std::size_t value, std::size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Not thread-safe: the engine holds its pass lock while one pass uses it. Allocates nothing after construction.
class Executor {
 public:
  // max_columns: widest activation that is quantised; max_attention_keys: longest window plus rows of a pass.
  Executor(const Kernels& kernels, std::size_t threads, std::size_t max_columns, std::size_t max_attention_keys,
           std::size_t max_queries_per_kv_head, std::size_t max_head_dim);

  const Kernels& kernels() const { return kernels_; }
  ThreadPool& pool() { return pool_; }

  // f(row) for every row; in parallel where rows are enough to pay for waking the workers.
  template <class F>
  void for_rows(std::size_t rows, F&& f) {
    constexpr std::size_t kSerialRows = 2;  // a norm of 3072 values takes about 1 us, a section of the pool 2 to 5 us
    if (rows <= kSerialRows || pool_.size() == 1) {
      for (std::size_t row = 0; row < rows; ++row) f(row);
      return;
    }
    pool_.run([&](std::size_t thread) {
      const auto [begin, end] = pool_.share(rows, thread);
      for (std::size_t row = begin; row < end; ++row) f(row);
    });
  }

  // Quantises x [rows][stride] for q4/q8 products; valid until the next call.
  const QuantizedRows& quantize(const float* x, std::size_t rows, std::size_t columns, std::size_t stride);

  // Per thread: room for the rotated queries, the attention result and the scores of one KV head.
  float* attention_scratch(std::size_t thread) {
    return attention_.as<float>() + thread * attention_floats_per_thread_;
  }

 private:
  const Kernels& kernels_;
  ThreadPool pool_;
  AlignedBuffer quantized_values_, quantized_scales_, quantized_sums_, attention_;
  QuantizedRows quantized_{};
  std::size_t attention_floats_per_thread_;
};

}  // namespace voxtral_edge
