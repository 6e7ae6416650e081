#include <immintrin.h>

#include "kernels/avx512vnni/block_product.h"
#include "kernels/avx512vnni/functions.h"
#include "kernels/shared/block_product.h"
#include "kernels/shared/compiler.h"

namespace voxtral_edge::avx512vnni {
namespace {

struct Product : Avx512Product {
  static constexpr std::size_t kTileBytes = kQ8TileBytes;

  template <std::size_t M>
  VOXTRAL_EDGE_INLINE static void add_block(const std::uint8_t* block, const std::uint8_t* scales, const Activations& x,
                                            std::size_t b, std::size_t /*pass*/, __m512* sums) {
    __m512i w[8];
    for (int i = 0; i < 8; i++) w[i] = _mm512_load_si512(block + 64 * i);
    const __m512 weight_scale = load_scales(scales);
    VOXTRAL_EDGE_UNROLL
    for (std::size_t m = 0; m < M; m++)
      sums[m] = add_scaled(dot_block<7>(w, x.block(m, b), x.sum(m, b)), weight_scale, x.scale(m, b), sums[m]);
  }
};

}  // namespace

VOXTRAL_EDGE_BLOCK_MATMUL(matmul_q8, Product)

}  // namespace voxtral_edge::avx512vnni
