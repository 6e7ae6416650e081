#include <arm_neon.h>

#include "kernels/neon_dotprod/block_product.h"
#include "kernels/neon_dotprod/functions.h"
#include "kernels/shared/block_product.h"
#include "kernels/shared/compiler.h"

namespace voxtral_edge::neon_dotprod {
namespace {

struct Product : NeonProduct {
  static constexpr std::size_t kTileBytes = kQ4TileBytes;
  // Of 32 registers 21 for the rows, 4 weight vectors, scales, nibble mask, the constant of block_sums.h. Cycles per
  // tile and row on a Neoverse N1 by llvm-mca: 54.1 with 4 rows, 50.7 with 6, 52.0 with 7, 55.5 with 8.
  static constexpr std::size_t kMostRows = 7;

  template <std::size_t M>
  VOXTRAL_EDGE_INLINE static void add_block(const std::uint8_t* block, const std::uint8_t* scales, const Activations& x,
                                            std::size_t b, std::size_t pass, float32x4_t* sums) {
    constexpr std::size_t kCount = pass_vectors(M);
    VOXTRAL_EDGE_UNROLL
    for (std::size_t v = 0; v < kCount; v++) {
      const std::size_t h = pass * kCount + v;  // weight rows 4 h to 4 h + 3
      int32x4_t dots[M];
      for (std::size_t m = 0; m < M; m++) dots[m] = begin_sums(8 * x.sum(m, b));  // zero point 8
      VOXTRAL_EDGE_UNROLL
      for (std::size_t half = 0; half < 2; half++) {
        int8x16_t w[4];  // a line: four columns in the low nibbles, the next four in the high ones
        for (std::size_t i = 0; i < 2; i++) {
          const uint8x16_t bytes = vld1q_u8(block + 64 * (2 * half + i) + 16 * h);
          w[2 * i] = vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(15)));
          w[2 * i + 1] = vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4));
        }
        add_dots<M>(w, x, b, half, dots);
      }
      add_scaled<M>(dots, scales + 8 * h, x, b, sums + v, kCount);
    }
  }
};

}  // namespace

VOXTRAL_EDGE_BLOCK_MATMUL(matmul_q4, Product)

}  // namespace voxtral_edge::neon_dotprod
