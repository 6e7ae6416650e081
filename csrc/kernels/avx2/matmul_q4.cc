#include <immintrin.h>

#include "kernels/avx2/block_product.h"
#include "kernels/avx2/functions.h"
#include "kernels/shared/block_product.h"
#include "kernels/shared/compiler.h"

namespace voxtral_edge::avx2 {
namespace {

struct Product : Avx2Product {
  static constexpr std::size_t kTileBytes = kQ4TileBytes;

  // Products of nibbles (0..15) with activations (-127..127) are summed in int16 over the whole block:
  // 16 products of at most 1905 give 30480 < 32767, so nothing saturates.
  template <std::size_t M>
  VOXTRAL_EDGE_INLINE static void add_block(const std::uint8_t* block, const std::uint8_t* scales, const Activations& x,
                                            std::size_t b, std::size_t /*pass*/, __m256* sums) {
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i dots[2 * M];
    VOXTRAL_EDGE_UNROLL
    for (std::size_t j = 0; j < 2 * M; j++) dots[j] = _mm256_setzero_si256();
    VOXTRAL_EDGE_UNROLL
    for (std::size_t i = 0; i < 4; i++) {
      const __m256i bytes0 = load(block + 64 * i), bytes1 = load(block + 64 * i + 32);
      const __m256i low0 = _mm256_and_si256(bytes0, nibble), low1 = _mm256_and_si256(bytes1, nibble);
      const __m256i high0 = _mm256_and_si256(_mm256_srli_epi16(bytes0, 4), nibble);
      const __m256i high1 = _mm256_and_si256(_mm256_srli_epi16(bytes1, 4), nibble);
      VOXTRAL_EDGE_UNROLL
      for (std::size_t m = 0; m < M; m++) {
        const __m256i a = broadcast4(x.block(m, b) + 8 * i), c = broadcast4(x.block(m, b) + 8 * i + 4);
        dots[2 * m] = _mm256_add_epi16(dots[2 * m], _mm256_maddubs_epi16(low0, a));
        dots[2 * m + 1] = _mm256_add_epi16(dots[2 * m + 1], _mm256_maddubs_epi16(low1, a));
        dots[2 * m] = _mm256_add_epi16(dots[2 * m], _mm256_maddubs_epi16(high0, c));
        dots[2 * m + 1] = _mm256_add_epi16(dots[2 * m + 1], _mm256_maddubs_epi16(high1, c));
      }
      pin<2 * M>(dots);
    }
    const __m256i ones = _mm256_set1_epi16(1);
    VOXTRAL_EDGE_UNROLL
    for (std::size_t m = 0; m < M; m++) {
      const __m256i zero_point = _mm256_slli_epi32(_mm256_set1_epi32(x.sum(m, b)), 3);
      dots[2 * m] = _mm256_sub_epi32(_mm256_madd_epi16(dots[2 * m], ones), zero_point);
      dots[2 * m + 1] = _mm256_sub_epi32(_mm256_madd_epi16(dots[2 * m + 1], ones), zero_point);
    }
    add_scaled<M>(dots, scales, x, b, sums);
  }
};

}  // namespace

VOXTRAL_EDGE_BLOCK_MATMUL(matmul_q4, Product)

}  // namespace voxtral_edge::avx2
