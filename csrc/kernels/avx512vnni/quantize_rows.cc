#include <immintrin.h>

#include "kernels/avx512vnni/functions.h"
#include "kernels/quantize_limits.h"
#include "kernels/shared/compiler.h"
#include "kernels/shared/quantize_rows.h"

namespace voxtral_edge::avx512vnni {
namespace {

inline void quantize_block(const float* x, std::int8_t* values, float* scale, std::int32_t* sum) {
  const __m512 x0 = _mm512_loadu_ps(x), x1 = _mm512_loadu_ps(x + 16);
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

}  // namespace

void quantize_rows(const float* x, std::size_t rows, std::size_t columns, std::size_t x_stride,
                   const QuantizedRows& out) {
  shared::quantize_rows(x, rows, columns, x_stride, out,
                        [](const float* from, std::int8_t* values, float* scale, std::int32_t* sum)
                            VOXTRAL_EDGE_INLINE { quantize_block(from, values, scale, sum); });
}

}  // namespace voxtral_edge::avx512vnni
