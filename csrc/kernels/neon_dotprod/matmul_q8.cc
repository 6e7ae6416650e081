#include <arm_neon.h>

#include "kernels/neon_dotprod/block_product.h"
#include "kernels/neon_dotprod/functions.h"
#include "kernels/shared/block_product.h"
#include "kernels/shared/compiler.h"

namespace voxtral_edge::neon_dotprod {
namespace {

struct Product : NeonProduct {
  static constexpr std::size_t kTileBytes = kQ8TileBytes;
  // Registers as in matmul_q4.cc, but GCC moves more of them: 58.6 cycles with 4 rows, 56.7 with 6, 61.7 with 7.
  static constexpr std::size_t kMostRows = 6;

  // The signed dot product takes value - 128 directly, so no zero point is left to correct.
  template <std::size_t M>
  VOXTRAL_EDGE_INLINE static void add_block(const std::uint8_t* block, const std::uint8_t* scales, const Activations& x,
                                            std::size_t b, std::size_t pass, float32x4_t* sums) {
    constexpr std::size_t kCount = pass_vectors(M);
    VOXTRAL_EDGE_UNROLL
    for (std::size_t v = 0; v < kCount; v++) {
      const std::size_t h = pass * kCount + v;  // weight rows 4 h to 4 h + 3
      int32x4_t dots[M];
      for (std::size_t m = 0; m < M; m++) dots[m] = vdupq_n_s32(kSumBegin);
      VOXTRAL_EDGE_UNROLL
      for (std::size_t half = 0; half < 2; half++) {
        int8x16_t w[4];
        for (std::size_t i = 0; i < 4; i++)
          w[i] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(block + 64 * (4 * half + i) + 16 * h), vdupq_n_u8(0x80)));
        add_dots<M>(w, x, b, half, dots);
      }
      add_scaled<M>(dots, scales + 8 * h, x, b, sums + v, kCount);
    }
  }
};

}  // namespace

VOXTRAL_EDGE_BLOCK_MATMUL(matmul_q8, Product)

}  // namespace voxtral_edge::neon_dotprod
