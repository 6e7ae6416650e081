#include <immintrin.h>

#include "kernels/avx2/block_product.h"
#include "kernels/avx2/functions.h"
#include "kernels/shared/block_product.h"
#include "kernels/shared/compiler.h"

namespace voxtral_edge::avx2 {
namespace {

struct Product : Avx2Product {
  static constexpr std::size_t kTileBytes = kQ8TileBytes;

  // maddubs wants one unsigned factor and saturates at 32767: |weight| <= 128 times an activation that took over the
  // weight's sign (|activation| <= 127) sums to at most 32512 per pair. (The stored byte itself, up to 255, would not
  // fit.)
  template <std::size_t M>
  VOXTRAL_EDGE_INLINE static void add_block(const std::uint8_t* block, const std::uint8_t* scales, const Activations& x,
                                            std::size_t b, std::size_t /*pass*/, __m256* sums) {
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
};

}  // namespace

VOXTRAL_EDGE_BLOCK_MATMUL(matmul_q8, Product)

}  // namespace voxtral_edge::avx2
