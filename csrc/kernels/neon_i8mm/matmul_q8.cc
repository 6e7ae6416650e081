#include <arm_neon.h>

#include "kernels/neon_dotprod/functions.h"
#include "kernels/neon_i8mm/functions.h"
#include "kernels/neon_i8mm/pair_product.h"
#include "kernels/shared/row_blocks.h"

namespace voxtral_edge::neon_i8mm {
namespace {

constexpr std::size_t kBlockBytes = kGroupRows * kBlockColumns;

// Four columns of four weight rows, as signed values.
inline int8x16_t load_signed(const std::uint8_t* p) {
  return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(p), vdupq_n_u8(0x80)));
}

template <std::size_t M>
inline void add_block(const std::uint8_t* block, const std::uint8_t* scales, const Activations& x, std::size_t b,
                      float32x4_t* sums) {
  int8x16_t a[4 * ((M + 1) / 2)];
  load_pairs<M>(x, b, a);
#pragma GCC unroll 4
  for (std::size_t h = 0; h < 4; h++) {
    int8x16_t w[8];
    for (std::size_t i = 0; i < 4; i++)
      pair_weights(load_signed(block + 128 * i + 16 * h), load_signed(block + 128 * i + 64 + 16 * h), w + 2 * i);
    int32x4_t dots[M];
    pair_dots<M>(w, a, dots);
    add_scaled<M>(dots, scales, h, x, b, sums);
  }
}

template <std::size_t M>
void group_product(const std::uint8_t* tile, std::size_t tiles, const Activations& x, bool prefetch,
                   const float* bias, float* y, std::size_t y_stride) {
  float32x4_t sums[4 * M];
  for (std::size_t j = 0; j < 4 * M; j++) sums[j] = vdupq_n_f32(0.0f);
  for (std::size_t t = 0; t < tiles; t++, tile += kQ8TileBytes) {
    if (prefetch) prefetch_tile<kQ8TileBytes>(tile);
    add_block<M>(tile, tile + 2 * kBlockBytes, x, 2 * t, sums);
    add_block<M>(tile + kBlockBytes, tile + 2 * kBlockBytes + 32, x, 2 * t + 1, sums);
  }
  store_sums<M>(sums, bias, y, y_stride);
}

}  // namespace

void matmul_q8(const std::uint8_t* weights, const QuantizedRows& x, std::size_t rows, std::size_t group_begin,
               std::size_t group_end, const float* bias, float* y, std::size_t y_stride) {
  if (rows == 1) return neon_dotprod::matmul_q8(weights, x, rows, group_begin, group_end, bias, y, y_stride);
  const std::size_t tiles = x.padded_columns / kTileColumns;
  for (std::size_t g = group_begin; g < group_end; g++)
    shared::for_row_blocks<kMostRows>(rows, [&]<std::size_t M>(std::size_t first) {
      group_product<M>(weights + g * tiles * kQ8TileBytes, tiles, Activations(x, first), first == 0,
                       bias ? bias + g * kGroupRows : nullptr, y + first * y_stride + g * kGroupRows, y_stride);
    });
}

}  // namespace voxtral_edge::neon_i8mm
