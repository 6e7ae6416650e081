// y = W x + b with packed weights of any type.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "kernels/packed_matrix.h"
#include "model/executor.h"

namespace voxtral_edge {

class Linear {
 public:
  Linear() = default;
  Linear(PackedMatrix weight, std::vector<float> bias);  // bias: empty, or padded to weight.padded_rows()

  std::size_t input_width() const { return weight_.columns(); }
  std::size_t output_width() const { return weight_.rows(); }
  std::size_t output_stride() const { return weight_.padded_rows(); }  // smallest y_stride
  const PackedMatrix& weight() const { return weight_; }
  std::size_t bytes() const { return weight_.bytes() + bias_.size() * sizeof(float); }

  // Activations over x [rows][stride] for this product, to be filled by Activations::take.
  Activations input(Executor& executor, Executor::Slot slot, const float* x, std::size_t stride) const {
    return executor.activations(slot, x, input_width(), stride, quantized());
  }

  // y [rows][y_stride], y_stride >= output_stride(). rows <= kMaxPassRows.
  void apply(Executor& executor, const Activations& x, std::size_t rows, float* y, std::size_t y_stride) const;

  // f(first, count, chunk) for all outputs, a chunk at a time and in parallel: chunk [rows][chunk_columns(rows)]
  // holds the outputs [first, first + count) of every row. `first` is a multiple of kGroupRows * granularity.
  template <class F>
  void apply_chunks(Executor& executor, const Activations& x, std::size_t rows, std::size_t granularity, F f) const {
    run_chunks(executor.pool(), rows, granularity, [&](std::size_t thread, std::size_t begin, std::size_t end) {
      float* chunk = executor.chunk(thread, 0);
      apply_groups(executor.kernels(), x, rows, begin, end, chunk, Executor::chunk_columns(rows));
      f(begin * kGroupRows, columns_of(begin, end), chunk);
    });
  }

  // The same for two products of the same shape at once: f(first, count, chunk, other_chunk).
  template <class F>
  void apply_chunks_with(const Linear& other, Executor& executor, const Activations& x, std::size_t rows,
                         std::size_t granularity, F f) const {
    run_chunks(executor.pool(), rows, granularity, [&](std::size_t thread, std::size_t begin, std::size_t end) {
      float *chunk = executor.chunk(thread, 0), *other_chunk = executor.chunk(thread, 1);
      apply_groups(executor.kernels(), x, rows, begin, end, chunk, Executor::chunk_columns(rows));
      other.apply_groups(executor.kernels(), x, rows, begin, end, other_chunk, Executor::chunk_columns(rows));
      f(begin * kGroupRows, columns_of(begin, end), chunk, other_chunk);
    });
  }

  // y [rows][y_stride] += W x + b; exactly output_width() columns are written.
  void add_to(Executor& executor, const Activations& x, std::size_t rows, float* y, std::size_t y_stride) const;

  // The same as apply() for output groups [begin, end) on the calling thread. y points at the column of `begin`.
  void apply_groups(const Kernels& kernels, const Activations& x, std::size_t rows, std::size_t begin, std::size_t end,
                    float* y, std::size_t y_stride) const;

  bool quantized() const { return weight_.type() == WeightType::q4 || weight_.type() == WeightType::q8; }

 private:
  // f(thread, begin, end) for all groups, in runs of at most a chunk.
  template <class F>
  void run_chunks(ThreadPool& pool, std::size_t rows, std::size_t granularity, F f) const {
    const std::size_t most = Executor::chunk_columns(rows) / kGroupRows / granularity;
    const std::size_t least = std::clamp<std::size_t>(kLeastBytes / (weight_.group_bytes() * granularity), 1, most);
    pool.run_pieces((weight_.groups() + granularity - 1) / granularity, least, most,
                    [&](std::size_t thread, std::size_t begin, std::size_t end) {
                      f(thread, begin * granularity, std::min(end * granularity, weight_.groups()));
                    });
  }
  std::size_t columns_of(std::size_t begin, std::size_t end) const {
    return std::min(end * kGroupRows, output_width()) - begin * kGroupRows;
  }

  // Of weights, in the last pieces of a share: 3 us of reading at 25 GB/s. A third and four times of it cost the same.
  static constexpr std::size_t kLeastBytes = 64 * 1024;

  PackedMatrix weight_;
  std::vector<float> bias_;
};

}  // namespace voxtral_edge
