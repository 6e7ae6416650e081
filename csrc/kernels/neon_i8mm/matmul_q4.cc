#include <arm_neon.h>

#include "kernels/neon_dotprod/functions.h"
#include "kernels/neon_i8mm/functions.h"
#include "kernels/neon_i8mm/pair_product.h"
#include "kernels/shared/row_blocks.h"

namespace voxtral_edge::neon_i8mm {
namespace {

constexpr std::size_t kBlockBytes = kGroupRows * kBlockColumns / 2;

template <std::size_t M>
inline void add_block(const std::uint8_t* block, const std::uint8_t* scales, const Activations& x, std::size_t b,
                      float32x4_t* sums) {
  int8x16_t a[4 * ((M + 1) / 2)];
  load_pairs<M>(x, b, a);
#pragma GCC unroll 4
  for (std::size_t h = 0; h < 4; h++) {
    int8x16_t w[8];
    for (std::size_t i = 0; i < 4; i++) {
      const uint8x16_t bytes = vld1q_u8(block + 64 * i + 16 * h);
      pair_weights(vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(15))), vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4)),
                   w + 2 * i);
    }
    int32x4_t dots[M];
    pair_dots<M>(w, a, dots);
    for (std::size_t m = 0; m < M; m++) dots[m] = vsubq_s32(dots[m], vshlq_n_s32(x.sum(m, b), 3));  // zero point 8
    add_scaled<M>(dots, scales, h, x, b, sums);
  }
}

template <std::size_t M>
void group_product(const std::uint8_t* tile, std::size_t tiles, const Activations& x, bool prefetch,
                   const float* bias, float* y, std::size_t y_stride) {
  float32x4_t sums[4 * M];
  for (std::size_t j = 0; j < 4 * M; j++) sums[j] = vdupq_n_f32(0.0f);
  for (std::size_t t = 0; t < tiles; t++, tile += kQ4TileBytes) {
    if (prefetch) prefetch_tile<kQ4TileBytes>(tile);
    add_block<M>(tile, tile + 2 * kBlockBytes, x, 2 * t, sums);
    add_block<M>(tile + kBlockBytes, tile + 2 * kBlockBytes + 32, x, 2 * t + 1, sums);
  }
  store_sums<M>(sums, bias, y, y_stride);
}

}  // namespace

void matmul_q4(const std::uint8_t* weights, const QuantizedRows& x, std::size_t rows, std::size_t group_begin,
               std::size_t group_end, const float* bias, float* y, std::size_t y_stride) {
  if (rows == 1) return neon_dotprod::matmul_q4(weights, x, rows, group_begin, group_end, bias, y, y_stride);
  const std::size_t tiles = x.padded_columns / kTileColumns;
  for (std::size_t g = group_begin; g < group_end; g++)
    shared::for_row_blocks<kMostRows>(rows, [&]<std::size_t M>(std::size_t first) {
      group_product<M>(weights + g * tiles * kQ4TileBytes, tiles, Activations(x, first), first == 0,
                       bias ? bias + g * kGroupRows : nullptr, y + first * y_stride + g * kGroupRows, y_stride);
    });
}

}  // namespace voxtral_edge::neon_i8mm
