// What the q4 and q8 products share: a lane per weight row, activations broadcast four columns at a time.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/shared/block_product.h"
#include "kernels/shared/compiler.h"

namespace voxtral_edge::avx512vnni {

// What a block's sums start from: minus the zero point's share, 2^ZeroPointBits times the sum of the activations.
template <int ZeroPointBits>
VOXTRAL_EDGE_INLINE inline __m512i zero_point_share(std::int32_t activation_sum) {
  return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(_mm512_set1_epi32(activation_sum), ZeroPointBits));
}

// Sum over 32 columns of (weight - zero point) * activation for 16 weight rows; w[i] holds columns 4 i to 4 i + 3.
// Written out for two reasons, measured on Zen 5 with GCC 12: it does not fold the broadcast into the instruction, and
// it spreads the loads of the next weights between these eight dependent instructions, which keeps blocks from
// overlapping (one row: 4.9 instead of 2.4 ns per q4 block, 16 instead of 4 ns per q8 block).
template <int ZeroPointBits>
VOXTRAL_EDGE_INLINE inline __m512i dot_block(const __m512i* w, const std::int8_t* x, std::int32_t activation_sum) {
  struct __attribute__((may_alias)) Block {
    std::int8_t values[kBlockColumns];
  };
  __m512i dot = zero_point_share<ZeroPointBits>(activation_sum);
  // clang-format off
  __asm__(
      "vpdpbusd (%[x])%{1to16%}, %[w0], %[dot]\n\t"
      "vpdpbusd 4(%[x])%{1to16%}, %[w1], %[dot]\n\t"
      "vpdpbusd 8(%[x])%{1to16%}, %[w2], %[dot]\n\t"
      "vpdpbusd 12(%[x])%{1to16%}, %[w3], %[dot]\n\t"
      "vpdpbusd 16(%[x])%{1to16%}, %[w4], %[dot]\n\t"
      "vpdpbusd 20(%[x])%{1to16%}, %[w5], %[dot]\n\t"
      "vpdpbusd 24(%[x])%{1to16%}, %[w6], %[dot]\n\t"
      "vpdpbusd 28(%[x])%{1to16%}, %[w7], %[dot]"
      : [dot] "+v"(dot)
      : [w0] "v"(w[0]), [w1] "v"(w[1]), [w2] "v"(w[2]), [w3] "v"(w[3]), [w4] "v"(w[4]), [w5] "v"(w[5]), [w6] "v"(w[6]),
        [w7] "v"(w[7]), [x] "r"(x), "m"(*reinterpret_cast<const Block*>(x)));
  // clang-format on
  return dot;
}

inline __m512 load_scales(const std::uint8_t* scales) {
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(scales)));
}

inline __m512 add_scaled(__m512i dot, __m512 weight_scale, float activation_scale, __m512 sum) {
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(weight_scale, _mm512_set1_ps(activation_scale)), sum);
}

// A product of shared/block_product.h. Format: kTileBytes, kZeroPointBits, unpack(block, w [8]) with w[i] = columns 4 i
// to 4 i + 3 of 16 weight rows.
template <class Format>
struct Avx512Product : Format {
  using Activations = shared::Activations<Avx512Product>;
  using Vector = __m512;
  static constexpr std::size_t kVectors = 1;
  static constexpr std::size_t kMostRows = 11;  // more rows are worth pairs of groups (pair_product.h)
  // Weights are read once, front to back. 9 KiB ahead covers ~150 ns at the pace of one thread even when 8 rows' worth
  // of arithmetic keeps the reorder buffer from looking ahead by itself (2.3 KiB: 70 % of the read bandwidth at 8 rows,
  // 9 KiB: 95 %); more gains nothing.
  static constexpr std::size_t kPrefetchAhead = 9216;

  static constexpr std::size_t pass_vectors(std::size_t) { return kVectors; }
  static Vector zero() { return _mm512_setzero_ps(); }
  static void store(Vector sum, const float* bias, float* y) {
    _mm512_storeu_ps(y, bias ? _mm512_add_ps(sum, _mm512_loadu_ps(bias)) : sum);
  }

  // One block of 16 weight rows times M activation rows: 8 unpacked vectors of 4 columns stay in registers.
  template <std::size_t M>
  VOXTRAL_EDGE_INLINE static void add_block(const std::uint8_t* block, const std::uint8_t* scales, const Activations& x,
                                            std::size_t b, std::size_t /*pass*/, __m512* sums) {
    __m512i w[8];
    Format::unpack(block, w);
    const __m512 weight_scale = load_scales(scales);
    VOXTRAL_EDGE_UNROLL
    for (std::size_t m = 0; m < M; m++)
      sums[m] = add_scaled(dot_block<Format::kZeroPointBits>(w, x.block(m, b), x.sum(m, b)), weight_scale,
                           x.scale(m, b), sums[m]);
  }
};

}  // namespace voxtral_edge::avx512vnni
