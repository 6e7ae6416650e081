// What a forward pass runs on: the chosen kernels, the thread pool and one set of scratch buffers.
#pragma once

#include <cstddef>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "kernels/kernels.h"

namespace voxtral_edge {

// Rows (encoder frames or decoder positions, of one or several streams) that share one pass over the weights. 64 holds
// the longest prompt (63 positions at 2400 ms) and 16 tokens of encoder frames.
inline constexpr std::size_t kMaxPassRows = 64;

// Output groups whose columns fill whole blocks of quantised activations.
inline constexpr std::size_t kBlockGroups = kBlockColumns / kGroupRows;

inline constexpr std::size_t round_up(std::size_t value, std::size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Rows of activations that a product reads: floats and, where its weights are q4 or q8, the same quantised. Whoever
// computes the floats hands them over piece by piece while they are in the cache.
struct Activations {
  const float* floats;  // [rows][stride]
  std::size_t stride, columns;
  QuantizedRows quantized;  // values null for float weights

  // Quantises columns [first, first + count) of a row. first is a multiple of kBlockColumns, so is count but for the
  // last piece, which clears the padding.
  void take(const Kernels& kernels, std::size_t row, std::size_t first, std::size_t count) const;
  void take(const Kernels& kernels, std::size_t row) const { take(kernels, row, 0, columns); }
};

// Not thread-safe: the engine holds its pass lock while one pass uses it. Allocates nothing after construction.
class Executor {
 public:
  // max_columns: widest activation that is quantised.
  Executor(const Kernels& kernels, std::size_t threads, std::size_t max_columns, std::size_t max_queries_per_kv_head,
           std::size_t max_head_dim);

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

  // Two sets of quantised rows, because one product may fill the input of the next.
  enum class Slot { input, hidden };
  // Activations over x [rows][stride], to be filled by take(); valid until the next call with this slot.
  Activations activations(Slot slot, const float* x, std::size_t columns, std::size_t stride, bool quantized);

  // Per thread: two chunks of a product, [rows][chunk_columns(rows)] each, which whoever asked for the product works on
  // while they are in the first cache (16 KB). The fewer rows, the longer a chunk: going back and forth between two
  // matrices every 64 columns costs one row 8 % of its time, 4 rows and more 1 %.
  static constexpr std::size_t chunk_columns(std::size_t rows) { return kMaxPassRows / rows * 64; }
  float* chunk(std::size_t thread, std::size_t index) {
    return chunks_.as<float>() + (2 * thread + index) * chunk_columns(1);
  }

  // Rows of one KV head that attend together.
  static constexpr std::size_t attention_rows(std::size_t queries) {
    return queries < kAttentionLines ? kAttentionLines / queries : 1;
  }
  // Per thread: room for the rotated queries and the result of attention_rows(queries) rows, and what attend() needs.
  float* attention_scratch(std::size_t thread) {
    return attention_.as<float>() + thread * attention_floats_per_thread_;
  }

 private:
  const Kernels& kernels_;
  ThreadPool pool_;
  struct QuantizedBuffers {
    AlignedBuffer values, scales, sums;
  };
  QuantizedBuffers quantized_[2];
  AlignedBuffer chunks_, attention_;
  std::size_t attention_floats_per_thread_;
};

}  // namespace voxtral_edge
