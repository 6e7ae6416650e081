#include <immintrin.h>

#include "kernels/avx512vnni/block_product.h"
#include "kernels/avx512vnni/functions.h"
#include "kernels/shared/compiler.h"
#include "kernels/shared/row_blocks.h"

namespace voxtral_edge::avx512vnni {
namespace {

constexpr std::size_t kBlockBytes = kGroupRows * kBlockColumns;

template <std::size_t M>
VOXTRAL_EDGE_INLINE inline void add_block(const std::uint8_t* block, const std::uint8_t* scales, const Activations& x,
                                          std::size_t b, __m512* sums) {
  __m512i w[8];
  for (int i = 0; i < 8; i++) w[i] = _mm512_load_si512(block + 64 * i);
  const __m512 weight_scale = load_scales(scales);
  VOXTRAL_EDGE_UNROLL
  for (std::size_t m = 0; m < M; m++)
    sums[m] = add_scaled(dot_block<7>(w, x.block(m, b), x.sum(m, b)), weight_scale, x.scale(m, b), sums[m]);
}

template <std::size_t M>
void group_product(const std::uint8_t* tile, std::size_t tiles, const Activations& x, bool prefetch, const float* bias,
                   float* y, std::size_t y_stride) {
  __m512 sums[M];
  for (std::size_t m = 0; m < M; m++) sums[m] = _mm512_setzero_ps();
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

}  // namespace voxtral_edge::avx512vnni
