// 16 floats in one 512-bit register. Interface: shared/README.md.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace voxtral_edge::avx512vnni {

struct Vector16 {
  __m512 v;

  static constexpr std::size_t kFloatRows = 12, kDots = 16, kSums = 16;

  static Vector16 zero() { return {_mm512_setzero_ps()}; }
  static Vector16 all(float x) { return {_mm512_set1_ps(x)}; }
  static Vector16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Vector16 load_half(const std::uint16_t* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
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

  // Tree: lane i + lane i+8, then i + i+4, then (0 + 1) + (2 + 3).
  static Vector16 reduce16(const Vector16* a) {
    __m512 quarters[4];  // quarters[j], 128-bit lane g: accumulator 4 g + j, which the last step puts in order
    for (int j = 0; j < 4; j++) {
      const __m512 first = fold8(a[j].v, a[4 + j].v), second = fold8(a[8 + j].v, a[12 + j].v);
      quarters[j] = _mm512_add_ps(_mm512_shuffle_f32x4(first, second, 0x88), _mm512_shuffle_f32x4(first, second, 0xdd));
    }
    return {fold1(fold1(quarters[0], quarters[1]), fold1(quarters[2], quarters[3]))};
  }

 private:
  static __m512 fold8(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
  }
  // Within 128 bits: a0 + a1, a2 + a3, b0 + b1, b2 + b3.
  static __m512 fold1(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
  }
};

}  // namespace voxtral_edge::avx512vnni
