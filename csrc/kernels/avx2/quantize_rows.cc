#include <immintrin.h>

#include "kernels/avx2/functions.h"
#include "kernels/quantize_limits.h"
#include "kernels/shared/compiler.h"
#include "kernels/shared/quantize_rows.h"

namespace voxtral_edge::avx2 {
namespace {

inline __m256i magnitudes(__m256 x) {
  return _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(static_cast<int>(kMagnitudeBits)));
}

inline std::uint32_t largest_lane(__m256i v) {
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(m));
}

inline std::int32_t sum_lanes(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
  return _mm_cvtsi128_si32(s);
}

inline void quantize_block(const float* x, std::int8_t* values, float* scale, std::int32_t* sum) {
  __m256 v[4];
  for (int i = 0; i < 4; i++) v[i] = _mm256_loadu_ps(x + 8 * i);
  const std::uint32_t largest = largest_lane(_mm256_max_epi32(_mm256_max_epi32(magnitudes(v[0]), magnitudes(v[1])),
                                                              _mm256_max_epi32(magnitudes(v[2]), magnitudes(v[3]))));
  *scale = 0.0f;
  *sum = 0;
  __m256i bytes = _mm256_setzero_si256();
  if (largest >= kTinyBits) {
    const float absmax = _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(static_cast<int>(largest))));
    *scale = absmax / 127.0f;
    if (largest < kInfinityBits) {
      const __m256 reciprocal = _mm256_set1_ps(127.0f / absmax);
      __m256i q[4];
      for (int i = 0; i < 4; i++) q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], reciprocal));
      *sum = sum_lanes(_mm256_add_epi32(_mm256_add_epi32(q[0], q[1]), _mm256_add_epi32(q[2], q[3])));
      // The packs work within 128 bits; the permutation puts the words of 4 values back in order.
      bytes = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
      bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    }
  }
  _mm256_store_si256(reinterpret_cast<__m256i*>(values), bytes);
}

}  // namespace

void quantize_rows(const float* x, std::size_t rows, std::size_t columns, std::size_t x_stride,
                   const QuantizedRows& out) {
  shared::quantize_rows(x, rows, columns, x_stride, out,
                        [](const float* from, std::int8_t* values, float* scale, std::int32_t* sum)
                            VOXTRAL_EDGE_INLINE { quantize_block(from, values, scale, sum); });
}

}  // namespace voxtral_edge::avx2
