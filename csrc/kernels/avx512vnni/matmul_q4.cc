#include <immintrin.h>

#include "kernels/avx512vnni/block_product.h"
#include "kernels/avx512vnni/functions.h"
#include "kernels/shared/block_product.h"
#include "kernels/shared/compiler.h"

namespace voxtral_edge::avx512vnni {
namespace {

struct Product : Avx512Product {
  static constexpr std::size_t kTileBytes = kQ4TileBytes;

  // One block of 16 weight rows times M activation rows: 8 unpacked vectors of 4 columns stay in registers.
  template <std::size_t M>
  VOXTRAL_EDGE_INLINE static void add_block(const std::uint8_t* block, const std::uint8_t* scales, const Activations& x,
                                            std::size_t b, std::size_t /*pass*/, __m512* sums) {
    const __m512i nibble = _mm512_set1_epi8(15);
    __m512i w[8];
    for (int i = 0; i < 4; i++) {
      __m512i bytes = _mm512_load_si512(block + 64 * i);
      __asm__("" : "+v"(bytes));  // one load: GCC otherwise reads the line for each of the two uses
      w[2 * i] = _mm512_and_si512(bytes, nibble);
      w[2 * i + 1] = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), nibble);
    }
    const __m512 weight_scale = load_scales(scales);
    VOXTRAL_EDGE_UNROLL
    for (std::size_t m = 0; m < M; m++)
      sums[m] = add_scaled(dot_block<3>(w, x.block(m, b), x.sum(m, b)), weight_scale, x.scale(m, b), sums[m]);
  }
};

}  // namespace

VOXTRAL_EDGE_BLOCK_MATMUL(matmul_q4, Product)

}  // namespace voxtral_edge::avx512vnni
