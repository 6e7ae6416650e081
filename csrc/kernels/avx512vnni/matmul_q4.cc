#include <immintrin.h>

#include "kernels/avx512vnni/block_product.h"
#include "kernels/avx512vnni/functions.h"
#include "kernels/avx512vnni/pair_product.h"
#include "kernels/shared/compiler.h"

namespace voxtral_edge::avx512vnni {
namespace {

struct Format {
  static constexpr std::size_t kTileBytes = kQ4TileBytes;
  static constexpr int kZeroPointBits = 3;

  VOXTRAL_EDGE_INLINE static void unpack(const std::uint8_t* block, __m512i* w) {
    const __m512i nibble = _mm512_set1_epi8(15);
    VOXTRAL_EDGE_UNROLL
    for (int i = 0; i < 4; i++) {
      __m512i bytes = _mm512_load_si512(block + 64 * i);
      __asm__("" : "+v"(bytes));  // one load: GCC otherwise reads the line for each of the two uses
      w[2 * i] = _mm512_and_si512(bytes, nibble);
      w[2 * i + 1] = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), nibble);
    }
  }
};

}  // namespace

void matmul_q4(const std::uint8_t* weights, const QuantizedRows& x, std::size_t rows, std::size_t group_begin,
               std::size_t group_end, const float* bias, float* y, std::size_t y_stride) {
  matmul<Avx512Product<Format>>(weights, x, rows, group_begin, group_end, bias, y, y_stride);
}

}  // namespace voxtral_edge::avx512vnni
