#include <immintrin.h>

#include "kernels/avx512vnni/block_product.h"
#include "kernels/avx512vnni/functions.h"
#include "kernels/avx512vnni/pair_product.h"
#include "kernels/shared/compiler.h"

namespace voxtral_edge::avx512vnni {
namespace {

struct Format {
  static constexpr std::size_t kTileBytes = kQ8TileBytes;
  static constexpr int kZeroPointBits = 7;

  VOXTRAL_EDGE_INLINE static void unpack(const std::uint8_t* block, __m512i* w) {
    VOXTRAL_EDGE_UNROLL
    for (int i = 0; i < 8; i++) w[i] = _mm512_load_si512(block + 64 * i);
  }
};

}  // namespace

void matmul_q8(const std::uint8_t* weights, const QuantizedRows& x, std::size_t rows, std::size_t group_begin,
               std::size_t group_end, const float* bias, float* y, std::size_t y_stride) {
  matmul<Avx512Product<Format>>(weights, x, rows, group_begin, group_end, bias, y, y_stride);
}

}  // namespace voxtral_edge::avx512vnni
