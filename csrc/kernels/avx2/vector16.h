// 16 floats in two 256-bit registers. Interface: shared/README.md.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace voxtral_edge::avx2 {

struct Vector16 {
  __m256 low, high;

  static constexpr std::size_t kFloatRows = 6, kLines = 6, kSums = 4;

  static Vector16 zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static Vector16 all(float x) {
    const __m256 v = _mm256_set1_ps(x);
    return {v, v};
  }
  static Vector16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static Vector16 load_half(const std::uint16_t* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
            _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
  }
  static Vector16 load_int8(const std::int8_t* p) { return {widen8(p), widen8(p + 8)}; }
  void store(float* p) const {
    _mm256_storeu_ps(p, low);
    _mm256_storeu_ps(p + 8, high);
  }
  void store_half(std::uint16_t* p) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(low, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(high, _MM_FROUND_TO_NEAREST_INT));
  }

  friend Vector16 operator+(Vector16 a, Vector16 b) {
    return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
  }
  friend Vector16 operator-(Vector16 a, Vector16 b) {
    return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
  }
  friend Vector16 operator*(Vector16 a, Vector16 b) {
    return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
  }
  friend Vector16 operator/(Vector16 a, Vector16 b) {
    return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
  }
  static Vector16 fma(Vector16 a, Vector16 b, Vector16 c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
  }
  static Vector16 larger(Vector16 a, Vector16 b) {
    return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
  }
  static Vector16 round(Vector16 a) {
    return {_mm256_round_ps(a.low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
            _mm256_round_ps(a.high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  static Vector16 times_power(Vector16 p, Vector16 n) {
    return {times_power8(p.low, n.low), times_power8(p.high, n.high)};
  }
  static Vector16 select_below(Vector16 a, Vector16 b, Vector16 x, Vector16 y) {
    return {_mm256_blendv_ps(y.low, x.low, _mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ)),
            _mm256_blendv_ps(y.high, x.high, _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ))};
  }
  static Vector16 magnitude(Vector16 a) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high)};
  }
  static Vector16 with_sign(Vector16 a, Vector16 s) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_or_ps(_mm256_andnot_ps(sign, a.low), _mm256_and_ps(sign, s.low)),
            _mm256_or_ps(_mm256_andnot_ps(sign, a.high), _mm256_and_ps(sign, s.high))};
  }
  float largest_lane() const {
    const __m256 m = _mm256_max_ps(low, high);
    __m128 most = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
    most = _mm_max_ps(most, _mm_movehl_ps(most, most));
    return _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
  }

 private:
  static __m256 widen8(const std::int8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  // 2^n as two factors of normal size, so that only the last product rounds.
  static __m256 times_power8(__m256 p, __m256 n) {
    const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1), bias = _mm256_set1_epi32(127);
    const __m256i first = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    const __m256i second = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(first)), _mm256_castsi256_ps(second));
  }
};

}  // namespace voxtral_edge::avx2
