#include <arm_neon.h>

#include "kernels/neon_dotprod/functions.h"
#include "kernels/neon_i8mm/functions.h"
#include "kernels/neon_i8mm/pair_product.h"

namespace voxtral_edge::neon_i8mm {
namespace {

struct Product {
  static constexpr std::size_t kTileBytes = kQ8TileBytes;
  static constexpr std::int32_t kZeroPoint = 128;

  VOXTRAL_EDGE_INLINE static void unpack(const std::uint8_t* block, uint8x16_t* w) {
    VOXTRAL_EDGE_UNROLL
    for (std::size_t i = 0; i < 2; i++) {
      const std::uint8_t* lines = block + 256 * i;                            // four columns each
      zip_lines(vld1q_u8(lines), vld1q_u8(lines + 128), w + 4 * i);           // columns 0-3, 8-11
      zip_lines(vld1q_u8(lines + 64), vld1q_u8(lines + 192), w + 4 * i + 2);  // columns 4-7, 12-15
    }
  }
};

}  // namespace

VOXTRAL_EDGE_PAIR_MATMUL(matmul_q8, Product)

}  // namespace voxtral_edge::neon_i8mm
