#include <immintrin.h>

#include "kernels/avx2/block_product.h"
#include "kernels/avx2/functions.h"
#include "kernels/shared/compiler.h"
#include "kernels/shared/row_blocks.h"

namespace voxtral_edge::avx2 {
namespace {

constexpr std::size_t kBlockBytes = kGroupRows * kBlockColumns;

// maddubs wants one unsigned factor and saturates at 32767: |weight| <= 128 times an activation that took over the
// weight's sign (|activation| <= 127) sums to at most 32512 per pair. (The stored byte itself, up to 255, would not
// fit.)
template <std::size_t M>
VOXTRAL_EDGE_INLINE inline void add_block(const std::uint8_t* block, const std::uint8_t* scales, const Activations& x,
                                          std::size_t b, __m256* sums) {
  const __m256i offset = _mm256_set1_epi8(static_cast<char>(0x80)), ones = _mm256_set1_epi16(1);
  __m256i dots[2 * M];
  VOXTRAL_EDGE_UNROLL
  for (std::size_t j = 0; j < 2 * M; j++) dots[j] = _mm256_setzero_si256();
  VOXTRAL_EDGE_UNROLL
  for (std::size_t i = 0; i < 8; i++) {
    const __m256i w0 = _mm256_xor_si256(load(block + 64 * i), offset);
    const __m256i w1 = _mm256_xor_si256(load(block + 64 * i + 32), offset);
    const __m256i size0 = _mm256_abs_epi8(w0), size1 = _mm256_abs_epi8(w1);
    VOXTRAL_EDGE_UNROLL
    for (std::size_t m = 0; m < M; m++) {
      const __m256i a = broadcast4(x.block(m, b) + 4 * i);
      const __m256i pairs0 = _mm256_maddubs_epi16(size0, _mm256_sign_epi8(a, w0));
      const __m256i pairs1 = _mm256_maddubs_epi16(size1, _mm256_sign_epi8(a, w1));
      dots[2 * m] = _mm256_add_epi32(dots[2 * m], _mm256_madd_epi16(pairs0, ones));
      dots[2 * m + 1] = _mm256_add_epi32(dots[2 * m + 1], _mm256_madd_epi16(pairs1, ones));
    }
    pin<2 * M>(dots);
  }
  add_scaled<M>(dots, scales, x, b, sums);
}

template <std::size_t M>
void group_product(const std::uint8_t* tile, std::size_t tiles, const Activations& x, bool prefetch, const float* bias,
                   float* y, std::size_t y_stride) {
  __m256 sums[2 * M];
  for (std::size_t j = 0; j < 2 * M; j++) sums[j] = _mm256_setzero_ps();
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

}  // namespace voxtral_edge::avx2
