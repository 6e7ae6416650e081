#include <immintrin.h>

#include "kernels/avx512vnni/functions.h"
#include "kernels/quantize_limits.h"

namespace voxtral_edge::avx512vnni {
namespace {

// One block; lanes that are not in the masks count as zero and are not read.
inline void quantize_block(const float* x, __mmask16 mask0, __mmask16 mask1, std::int8_t* values, float* scale,
                           std::int32_t* sum) {
  const __m512 x0 = _mm512_maskz_loadu_ps(mask0, x), x1 = _mm512_maskz_loadu_ps(mask1, x + 16);
  const __m512i magnitude = _mm512_set1_epi32(static_cast<int>(kMagnitudeBits));
  const auto largest = static_cast<std::uint32_t>(_mm512_reduce_max_epi32(_mm512_max_epi32(
      _mm512_and_si512(_mm512_castps_si512(x0), magnitude), _mm512_and_si512(_mm512_castps_si512(x1), magnitude))));
  __m512i q0 = _mm512_setzero_si512(), q1 = q0;
  *scale = 0.0f;
  if (largest >= kTinyBits) {
    const float absmax = _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(static_cast<int>(largest))));
    *scale = absmax / 127.0f;
    if (largest < kInfinityBits) {
      const __m512 reciprocal = _mm512_set1_ps(127.0f / absmax);
      q0 = _mm512_cvtps_epi32(_mm512_mul_ps(x0, reciprocal));
      q1 = _mm512_cvtps_epi32(_mm512_mul_ps(x1, reciprocal));
    }
  }
  *sum = _mm512_reduce_add_epi32(_mm512_add_epi32(q0, q1));
  _mm_store_si128(reinterpret_cast<__m128i*>(values), _mm512_cvtepi32_epi8(q0));
  _mm_store_si128(reinterpret_cast<__m128i*>(values + 16), _mm512_cvtepi32_epi8(q1));
}

inline __mmask16 first_lanes(std::size_t count) {
  return static_cast<__mmask16>(count >= 16 ? 0xffffu : (1u << count) - 1u);
}

}  // namespace

void quantize_rows(const float* x, std::size_t rows, std::size_t columns, std::size_t x_stride,
                   const QuantizedRows& out) {
  const std::size_t blocks = out.padded_columns / kBlockColumns, whole = columns / kBlockColumns;
  for (std::size_t m = 0; m < rows; m++) {
    const float* row = x + m * x_stride;
    std::int8_t* values = out.values + m * out.padded_columns;
    float* scales = out.scales + m * blocks;
    std::int32_t* sums = out.sums + m * blocks;
    for (std::size_t b = 0; b < whole; b++)
      quantize_block(row + b * kBlockColumns, 0xffff, 0xffff, values + b * kBlockColumns, scales + b, sums + b);
    for (std::size_t b = whole; b < blocks; b++) {
      const std::size_t left = b == whole ? columns % kBlockColumns : 0;
      quantize_block(row + (left ? b * kBlockColumns : 0), first_lanes(left), first_lanes(left > 16 ? left - 16 : 0),
                     values + b * kBlockColumns, scales + b, sums + b);
    }
  }
}

}  // namespace voxtral_edge::avx512vnni
