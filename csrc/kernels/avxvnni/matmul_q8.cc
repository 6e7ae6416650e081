#include <immintrin.h>

#include "kernels/avx2/block_product.h"
#include "kernels/avxvnni/functions.h"
#include "kernels/shared/block_product.h"
#include "kernels/shared/compiler.h"

namespace voxtral_edge::avxvnni {
namespace {

using namespace avx2;

struct Product : Avx2Product {
  static constexpr std::size_t kTileBytes = kQ8TileBytes;

  // The stored byte (value + 128) is the unsigned factor as it is; sums start at minus the zero point's share.
  template <std::size_t M>
  VOXTRAL_EDGE_INLINE static void add_block(const std::uint8_t* block, const std::uint8_t* scales, const Activations& x,
                                            std::size_t b, std::size_t /*pass*/, __m256* sums) {
    __m256i dots[2 * M];
    VOXTRAL_EDGE_UNROLL
    for (std::size_t m = 0; m < M; m++)
      dots[2 * m] = dots[2 * m + 1] =
          _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(_mm256_set1_epi32(x.sum(m, b)), 7));
    VOXTRAL_EDGE_UNROLL
    for (std::size_t i = 0; i < 8; i++) {
      const __m256i w0 = load(block + 64 * i), w1 = load(block + 64 * i + 32);
      VOXTRAL_EDGE_UNROLL
      for (std::size_t m = 0; m < M; m++) {
        const __m256i a = broadcast4(x.block(m, b) + 4 * i);
        dots[2 * m] = _mm256_dpbusd_avx_epi32(dots[2 * m], w0, a);
        dots[2 * m + 1] = _mm256_dpbusd_avx_epi32(dots[2 * m + 1], w1, a);
      }
      pin<2 * M>(dots);
    }
    add_scaled<M>(dots, scales, x, b, sums);
  }
};

}  // namespace

VOXTRAL_EDGE_BLOCK_MATMUL(matmul_q8, Product)

}  // namespace voxtral_edge::avxvnni
