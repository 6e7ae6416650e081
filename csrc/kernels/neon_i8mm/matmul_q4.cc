#include <arm_neon.h>

#include "kernels/neon_dotprod/functions.h"
#include "kernels/neon_i8mm/functions.h"
#include "kernels/neon_i8mm/pair_product.h"

namespace voxtral_edge::neon_i8mm {
namespace {

struct Product {
  static constexpr std::size_t kTileBytes = kQ4TileBytes;
  static constexpr std::int32_t kZeroPoint = 8;

  VOXTRAL_EDGE_INLINE static void unpack(const std::uint8_t* block, uint8x16_t* w) {
    VOXTRAL_EDGE_UNROLL
    for (std::size_t i = 0; i < 2; i++) {
      uint8x16_t bytes[2];
      zip_lines(vld1q_u8(block + 128 * i), vld1q_u8(block + 128 * i + 64), bytes);
      for (std::size_t r = 0; r < 2; r++) {
        w[4 * i + r] = vandq_u8(bytes[r], vdupq_n_u8(15));  // columns 0-3, 8-11
        w[4 * i + 2 + r] = vshrq_n_u8(bytes[r], 4);         // columns 4-7, 12-15
      }
    }
  }
};

}  // namespace

VOXTRAL_EDGE_PAIR_MATMUL(matmul_q4, Product)

}  // namespace voxtral_edge::neon_i8mm
