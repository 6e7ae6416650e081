// Products with float weights, one lane per weight row.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/shared/row_blocks.h"
#include "kernels/shared/vector_math.h"

namespace voxtral_edge::shared {

// Columns summed on their own before joining the total: with 9216 columns an error of at most (64 + 144) 2^-24 of
// sum |w x|, in practice a few 2^-24.
inline constexpr std::size_t kChunk = 64;

// As for the integer products (avx512vnni/block_product.h). One line per float vector, every line twice for binary16.
inline constexpr std::size_t kFloatPrefetchBytes = 9216;

template <class Weight>
VOXTRAL_EDGE_INLINE inline void prefetch_ahead(const Weight* weights) {
  __builtin_prefetch(reinterpret_cast<const char*>(weights) + kFloatPrefetchBytes);
}

// M rows of one group. A sum over 64 columns is one chain of dependent additions; with few rows, Chains chunks run side
// by side to hide its latency. They still join the total in order, so the result does not depend on Chains.
template <class V, std::size_t M, std::size_t Chains, class Weight>
void float_group(const Weight* weights, std::size_t columns, const float* x, std::size_t x_stride, const float* bias,
                 float* y, std::size_t y_stride) {
  V totals[M];
  for (std::size_t m = 0; m < M; m++) totals[m] = V::zero();
  std::size_t begin = 0;
  for (; begin + Chains * kChunk <= columns; begin += Chains * kChunk) {
    V sums[Chains][M];
    for (std::size_t c = 0; c < Chains; c++)
      for (std::size_t m = 0; m < M; m++) sums[c][m] = V::zero();
    for (std::size_t k = begin; k < begin + kChunk; k++)
      for (std::size_t c = 0; c < Chains; c++) {
        const V w = load16<V>(weights + (k + c * kChunk) * kLanes);
        prefetch_ahead(weights + (k + c * kChunk) * kLanes);
        for (std::size_t m = 0; m < M; m++)
          sums[c][m] = V::fma(w, V::all(x[m * x_stride + k + c * kChunk]), sums[c][m]);
      }
    for (std::size_t c = 0; c < Chains; c++)
      for (std::size_t m = 0; m < M; m++) totals[m] = totals[m] + sums[c][m];
  }
  for (; begin < columns; begin += kChunk) {
    const std::size_t end = begin + kChunk < columns ? begin + kChunk : columns;
    V sums[M];
    for (std::size_t m = 0; m < M; m++) sums[m] = V::zero();
    for (std::size_t k = begin; k < end; k++) {
      const V w = load16<V>(weights + k * kLanes);
      for (std::size_t m = 0; m < M; m++) sums[m] = V::fma(w, V::all(x[m * x_stride + k]), sums[m]);
    }
    for (std::size_t m = 0; m < M; m++) totals[m] = totals[m] + sums[m];
  }
  for (std::size_t m = 0; m < M; m++) (bias ? totals[m] + V::load(bias) : totals[m]).store(y + m * y_stride);
}

template <class V, class Weight>
void matmul_float(const Weight* weights, std::size_t columns, const float* x, std::size_t rows, std::size_t x_stride,
                  std::size_t group_begin, std::size_t group_end, const float* bias, float* y, std::size_t y_stride) {
  for (std::size_t g = group_begin; g < group_end; g++)
    for_row_blocks<V::kFloatRows>(rows, [&]<std::size_t M>(std::size_t first) {
      float_group<V, M, M <= 2 ? 4 / M : 1>(weights + g * columns * kGroupRows, columns, x + first * x_stride, x_stride,
                                            bias ? bias + g * kGroupRows : nullptr,
                                            y + first * y_stride + g * kGroupRows, y_stride);
    });
}

}  // namespace voxtral_edge::shared
