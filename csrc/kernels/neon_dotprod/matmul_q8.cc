#include <arm_neon.h>

#include "kernels/neon_dotprod/block_product.h"
#include "kernels/neon_dotprod/functions.h"
#include "kernels/shared/compiler.h"
#include "kernels/shared/row_blocks.h"

namespace voxtral_edge::neon_dotprod {
namespace {

constexpr std::size_t kBlockBytes = kGroupRows * kBlockColumns;

// The signed dot product takes value - 128 directly, so no zero point is left to correct.
template <std::size_t M>
VOXTRAL_EDGE_INLINE inline void add_block(const std::uint8_t* block, const std::uint8_t* scales, const Activations& x,
                                          std::size_t b, float32x4_t* sums) {
  int8x16_t a[2 * M];
  load_activations<M>(x, b, a);
  VOXTRAL_EDGE_UNROLL
  for (std::size_t h = 0; h < 4; h++) {
    int8x16_t w[8];
    for (std::size_t i = 0; i < 8; i++)
      w[i] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(block + 64 * i + 16 * h), vdupq_n_u8(0x80)));
    int32x4_t dots[M];
    for (std::size_t m = 0; m < M; m++) dots[m] = vdupq_n_s32(0);
    add_dots<M>(w, a, dots);
    add_scaled<M>(dots, scales, h, x, b, sums);
  }
}

template <std::size_t M>
void group_product(const std::uint8_t* tile, std::size_t tiles, const Activations& x, bool prefetch, const float* bias,
                   float* y, std::size_t y_stride) {
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
  const std::size_t tiles = x.padded_columns / kTileColumns;
  for (std::size_t g = group_begin; g < group_end; g++)
    shared::for_row_blocks<kMostRows>(rows, [&]<std::size_t M>(std::size_t first) {
      group_product<M>(weights + g * tiles * kQ8TileBytes, tiles, Activations(x, first), first == 0,
                       bias ? bias + g * kGroupRows : nullptr, y + first * y_stride + g * kGroupRows, y_stride);
    });
}

}  // namespace voxtral_edge::neon_dotprod
