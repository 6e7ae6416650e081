#include <arm_neon.h>

#include "kernels/neon_dotprod/block_product.h"
#include "kernels/neon_dotprod/functions.h"
#include "kernels/shared/block_product.h"
#include "kernels/shared/compiler.h"

namespace voxtral_edge::neon_dotprod {
namespace {

struct Product : NeonProduct {
  static constexpr std::size_t kTileBytes = kQ4TileBytes;

  template <std::size_t M>
  VOXTRAL_EDGE_INLINE static void add_block(const std::uint8_t* block, const std::uint8_t* scales, const Activations& x,
                                            std::size_t b, float32x4_t* sums) {
    int8x16_t a[2 * M];
    load_activations<M>(x, b, a);
    VOXTRAL_EDGE_UNROLL
    for (std::size_t h = 0; h < 4; h++) {
      int8x16_t w[8];  // line i: columns 8 i to 8 i + 3 in the low nibbles, 8 i + 4 to 8 i + 7 in the high ones
      for (std::size_t i = 0; i < 4; i++) {
        const uint8x16_t bytes = vld1q_u8(block + 64 * i + 16 * h);
        w[2 * i] = vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(15)));
        w[2 * i + 1] = vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4));
      }
      int32x4_t dots[M];
      for (std::size_t m = 0; m < M; m++)
        dots[m] = vnegq_s32(vshlq_n_s32(vdupq_n_s32(x.sum(m, b)), 3));  // zero point 8
      add_dots<M>(w, a, dots);
      add_scaled<M>(dots, scales, h, x, b, sums);
    }
  }
};

}  // namespace

VOXTRAL_EDGE_BLOCK_MATMUL(matmul_q4, Product)

}  // namespace voxtral_edge::neon_dotprod
