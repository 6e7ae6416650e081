// 16 floats in one 512-bit register. Interface: shared/README.md.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace voxtral_edge::avx512vnni {

struct Vector16 {
  __m512 v;

  static constexpr std::size_t kFloatRows = 12, kLines = 6, kSums = 24;

  static Vector16 zero() { return {_mm512_setzero_ps()}; }
  static Vector16 all(float x) { return {_mm512_set1_ps(x)}; }
  static Vector16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Vector16 load_half(const std::uint16_t* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
  }
  static Vector16 load_int8(const std::int8_t* p) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
  }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void store_half(std::uint16_t* p) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }

  friend Vector16 operator+(Vector16 a, Vector16 b) { return {_mm512_add_ps(a.v, b.v)}; }
  friend Vector16 operator-(Vector16 a, Vector16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
  friend Vector16 operator*(Vector16 a, Vector16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
  friend Vector16 operator/(Vector16 a, Vector16 b) { return {_mm512_div_ps(a.v, b.v)}; }
  static Vector16 fma(Vector16 a, Vector16 b, Vector16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
  static Vector16 larger(Vector16 a, Vector16 b) { return {_mm512_max_ps(a.v, b.v)}; }
  static Vector16 round(Vector16 a) {
    return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  static Vector16 times_power(Vector16 p, Vector16 n) { return {_mm512_scalef_ps(p.v, n.v)}; }
  static Vector16 select_below(Vector16 a, Vector16 b, Vector16 x, Vector16 y) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
  }
  static Vector16 magnitude(Vector16 a) { return {_mm512_abs_ps(a.v)}; }
  static Vector16 with_sign(Vector16 a, Vector16 s) {
    const __m512 sign = _mm512_set1_ps(-0.0f);
    return {_mm512_or_ps(_mm512_andnot_ps(sign, a.v), _mm512_and_ps(sign, s.v))};
  }
  float largest_lane() const { return _mm512_reduce_max_ps(v); }
};

}  // namespace voxtral_edge::avx512vnni
