// The q4 and q8 products with many activation rows: two groups of 16 weight rows at a time, so that every broadcast of
// four activations feeds two dot products, and unpacked weights that stay in registers for all rows.
//
// What limits them on Zen 5, per group, block and activation row: 8 dot products, the product of scales and the fused
// multiply-add share two pipes, 5 cycles, of which the dot products are 0.8. One group at a time also takes 10 loads of
// two a cycle, 5 cycles again, and reaches 0.70 of the integer peak; two groups take 7 loads, float sums and weights
// included, and reach 0.74 to 0.75.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/avx512vnni/block_product.h"
#include "kernels/kernels.h"
#include "kernels/shared/block_product.h"
#include "kernels/shared/compiler.h"
#include "kernels/shared/row_blocks.h"

namespace voxtral_edge::avx512vnni {

// Activation rows at a time: 8 integer sums, as many as two pipes of four cycles need, 16 vectors of weights and 2 of
// scales of 32 registers.
inline constexpr std::size_t kStepRows = 4;
// Rows that share one unpacking of the weights; their float sums are 4 KB on the stack.
inline constexpr std::size_t kPairMostRows = 32;
// Weights asked for at a time. They come from memory, and more at once keep what comes from the second cache waiting:
// 16 rows of q8 reach 0.42 to 0.49 of the peak with 34 lines, 0.69 with 17, 0.71 with 9.
inline constexpr std::size_t kPrefetchLines = 9;

// Whether pairs are faster: yes where the rows divide into equal steps or are many (7, 10, 11 rows lose 1 to 5 %).
inline bool worth_pairs(std::size_t rows) { return rows >= 6 && (rows >= 12 || rows % 4 == 0 || rows % 3 == 0); }

// sums [M][2] += one block's products of two groups, unpacked to w [2][8], with M activation rows.
template <std::size_t M, int ZeroPointBits>
VOXTRAL_EDGE_INLINE inline void add_pair(const __m512i* w, const __m512* weight_scales, const std::int8_t* values,
                                         const std::int32_t* value_sums, const float* scales, std::size_t columns,
                                         std::size_t blocks, __m512* sums) {
  __m512i dots[M][2];
  VOXTRAL_EDGE_UNROLL
  for (std::size_t m = 0; m < M; m++) dots[m][0] = dots[m][1] = zero_point_share<ZeroPointBits>(value_sums[m * blocks]);
  VOXTRAL_EDGE_UNROLL
  for (std::size_t i = 0; i < 8; i++) {
    VOXTRAL_EDGE_UNROLL
    for (std::size_t m = 0; m < M; m++) {
      int four;
      __builtin_memcpy(&four, values + m * columns + 4 * i, sizeof four);
      const __m512i a = _mm512_set1_epi32(four);
      dots[m][0] = _mm512_dpbusd_epi32(dots[m][0], w[i], a);
      dots[m][1] = _mm512_dpbusd_epi32(dots[m][1], w[8 + i], a);
      __asm__("" : "+v"(dots[m][0]), "+v"(dots[m][1]));  // in this order: rows take turns
    }
  }
  VOXTRAL_EDGE_UNROLL
  for (std::size_t m = 0; m < M; m++) {
    sums[2 * m] = add_scaled(dots[m][0], weight_scales[0], scales[m * blocks], sums[2 * m]);
    sums[2 * m + 1] = add_scaled(dots[m][1], weight_scales[1], scales[m * blocks], sums[2 * m + 1]);
  }
}

// Two groups times `steps` times M activation rows. Not inlined: beside a second such loop GCC 12 keeps weights in
// memory (0.69 instead of 0.74 of the peak).
template <class Product, std::size_t M>
[[gnu::noinline]] void pair_product(const std::uint8_t* group, std::size_t tiles, typename Product::Activations x,
                                    std::size_t steps, bool prefetch, const float* bias, float* y,
                                    std::size_t y_stride) {
  constexpr std::size_t kScaleBytes = kGroupRows * sizeof(std::uint16_t);
  constexpr std::size_t kBlockBytes = Product::kTileBytes / 2 - kScaleBytes;
  const std::size_t group_bytes = tiles * Product::kTileBytes, columns = x.columns, blocks = x.blocks;
  __m512 sums[2 * kPairMostRows];
  for (std::size_t j = 0; j < 2 * steps * M; j++) sums[j] = Product::zero();
  for (std::size_t t = 0; t < tiles; t++) {
    const std::uint8_t* tile = group + t * Product::kTileBytes;
    // After the end of a group comes the other one of the pair; what will be needed is the next pair's.
    const std::size_t skip = (t + 1) * Product::kTileBytes + Product::kPrefetchAhead > group_bytes ? group_bytes : 0;
    for (std::size_t half = 0; half < 2; half++) {
      const std::uint8_t* ahead = tile + half * group_bytes + skip + Product::kPrefetchAhead;
      __m512i w[16];
      __m512 weight_scales[2];
      VOXTRAL_EDGE_UNROLL
      for (std::size_t g = 0; g < 2; g++) {
        Product::unpack(tile + g * group_bytes + half * kBlockBytes, w + 8 * g);
        weight_scales[g] = load_scales(tile + g * group_bytes + 2 * kBlockBytes + half * kScaleBytes);
      }
      VOXTRAL_EDGE_UNROLL
      for (std::size_t i = 0; i < 16; i++) __asm__("" : "+v"(w[i]));  // stays in its register
      const std::int8_t* values = x.block(0, 2 * t + half);
      const std::int32_t* value_sums = x.sums + 2 * t + half;
      const float* scales = x.scales + 2 * t + half;
      for (std::size_t step = 0; step < steps; step++) {
        if (prefetch && step * kPrefetchLines < Product::kTileBytes / 64) {
          VOXTRAL_EDGE_UNROLL
          for (std::size_t i = 0; i < kPrefetchLines; i++) __builtin_prefetch(ahead + 64 * i);
          ahead += 64 * kPrefetchLines;
        }
        add_pair<M, Product::kZeroPointBits>(w, weight_scales, values, value_sums, scales, columns, blocks,
                                             sums + 2 * M * step);
        values += M * columns;
        value_sums += M * blocks;
        scales += M * blocks;
      }
    }
  }
  for (std::size_t m = 0; m < steps * M; m++)
    for (std::size_t g = 0; g < 2; g++)
      Product::store(sums[2 * m + g], bias ? bias + g * kGroupRows : nullptr, y + m * y_stride + g * kGroupRows);
}

// Two groups times the rows [first, first + count), as steps of kStepRows rows or as equal as possible.
template <class Product>
void pair_rows(const std::uint8_t* group, std::size_t tiles, const QuantizedRows& x, std::size_t first,
               std::size_t count, const float* bias, float* y, std::size_t y_stride) {
  const std::size_t steps = (count + kStepRows - 1) / kStepRows, most = (count + steps - 1) / steps;
  const std::size_t shorter = most * steps - count;  // steps of one row less
  const auto part = [&]<std::size_t M>(std::size_t row, std::size_t n) {
    pair_product<Product, M>(group, tiles, typename Product::Activations(x, row), n, row == 0, bias, y + row * y_stride,
                             y_stride);
  };
  shared::with_constant<kStepRows>(most, [&]<std::size_t M>() {
    part.template operator()<M>(first, steps - shorter);
    if constexpr (M > 1)
      if (shorter > 0) part.template operator()<M - 1>(first + (steps - shorter) * M, shorter);
  });
}

// As Kernels::matmul_q4 and matmul_q8.
template <class Product>
void matmul(const std::uint8_t* weights, const QuantizedRows& x, std::size_t rows, std::size_t group_begin,
            std::size_t group_end, const float* bias, float* y, std::size_t y_stride) {
  const std::size_t tiles = x.padded_columns / kTileColumns;
  if (worth_pairs(rows)) {
    const std::size_t parts = (rows + kPairMostRows - 1) / kPairMostRows;
    const std::size_t part_rows = ((rows + parts - 1) / parts + kStepRows - 1) / kStepRows * kStepRows;
    for (; group_begin + 1 < group_end; group_begin += 2)
      for (std::size_t first = 0; first < rows; first += part_rows)
        pair_rows<Product>(weights + group_begin * tiles * Product::kTileBytes, tiles, x, first,
                           rows - first < part_rows ? rows - first : part_rows,
                           bias ? bias + group_begin * kGroupRows : nullptr, y + group_begin * kGroupRows, y_stride);
  }
  shared::block_matmul<Product>(weights, x, rows, group_begin, group_end, bias, y, y_stride);
}

}  // namespace voxtral_edge::avx512vnni
