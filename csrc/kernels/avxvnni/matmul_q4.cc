#include <immintrin.h>

#include "kernels/avx2/block_product.h"
#include "kernels/avxvnni/functions.h"
#include "kernels/shared/compiler.h"
#include "kernels/shared/row_blocks.h"

namespace voxtral_edge::avxvnni {
namespace {

using namespace avx2;

constexpr std::size_t kBlockBytes = kGroupRows * kBlockColumns / 2;

// Sums start at minus the zero point's share, so nothing is left to correct.
template <std::size_t M>
VOXTRAL_EDGE_INLINE inline void add_block(const std::uint8_t* block, const std::uint8_t* scales, const Activations& x,
                                          std::size_t b, __m256* sums) {
  const __m256i nibble = _mm256_set1_epi8(15);
  __m256i dots[2 * M];
  VOXTRAL_EDGE_UNROLL
  for (std::size_t m = 0; m < M; m++)
    dots[2 * m] = dots[2 * m + 1] = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(x.sum(m, b), 3));
  VOXTRAL_EDGE_UNROLL
  for (std::size_t i = 0; i < 4; i++) {
    const __m256i bytes0 = load(block + 64 * i), bytes1 = load(block + 64 * i + 32);
    const __m256i low0 = _mm256_and_si256(bytes0, nibble), low1 = _mm256_and_si256(bytes1, nibble);
    const __m256i high0 = _mm256_and_si256(_mm256_srli_epi16(bytes0, 4), nibble);
    const __m256i high1 = _mm256_and_si256(_mm256_srli_epi16(bytes1, 4), nibble);
    VOXTRAL_EDGE_UNROLL
    for (std::size_t m = 0; m < M; m++) {
      const __m256i a = broadcast4(x.block(m, b) + 8 * i), c = broadcast4(x.block(m, b) + 8 * i + 4);
      dots[2 * m] = _mm256_dpbusd_avx_epi32(_mm256_dpbusd_avx_epi32(dots[2 * m], low0, a), high0, c);
      dots[2 * m + 1] = _mm256_dpbusd_avx_epi32(_mm256_dpbusd_avx_epi32(dots[2 * m + 1], low1, a), high1, c);
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
  const std::size_t tiles = x.padded_columns / kTileColumns;
  for (std::size_t g = group_begin; g < group_end; g++)
    shared::for_row_blocks<kMostRows>(rows, [&]<std::size_t M>(std::size_t first) {
      group_product<M>(weights + g * tiles * kQ4TileBytes, tiles, Activations(x, first), first == 0,
                       bias ? bias + g * kGroupRows : nullptr, y + first * y_stride + g * kGroupRows, y_stride);
    });
}

}  // namespace voxtral_edge::avxvnni
