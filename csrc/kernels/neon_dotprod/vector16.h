// 16 floats in four 128-bit registers. Interface: shared/README.md.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace voxtral_edge::neon_dotprod {

struct Vector16 {
  float32x4_t v[4];

  static constexpr std::size_t kFloatRows = 6, kDots = 4, kSums = 4;

  static Vector16 zero() { return all(0.0f); }
  static Vector16 all(float x) {
    const float32x4_t value = vdupq_n_f32(x);
    return {{value, value, value, value}};
  }
  static Vector16 load(const float* p) {
    return {{vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}};
  }
  static Vector16 load_half(const std::uint16_t* p) { return {{half4(p), half4(p + 4), half4(p + 8), half4(p + 12)}}; }
  void store(float* p) const {
    for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, v[i]);
  }
  void store_half(std::uint16_t* p) const {
    for (int i = 0; i < 4; i++) vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(v[i])));
  }

  friend Vector16 operator+(Vector16 a, Vector16 b) {
    return each(a, b, [](float32x4_t x, float32x4_t y) { return vaddq_f32(x, y); });
  }
  friend Vector16 operator-(Vector16 a, Vector16 b) {
    return each(a, b, [](float32x4_t x, float32x4_t y) { return vsubq_f32(x, y); });
  }
  friend Vector16 operator*(Vector16 a, Vector16 b) {
    return each(a, b, [](float32x4_t x, float32x4_t y) { return vmulq_f32(x, y); });
  }
  friend Vector16 operator/(Vector16 a, Vector16 b) {
    return each(a, b, [](float32x4_t x, float32x4_t y) { return vdivq_f32(x, y); });
  }
  static Vector16 fma(Vector16 a, Vector16 b, Vector16 c) {
    return {{vfmaq_f32(c.v[0], a.v[0], b.v[0]), vfmaq_f32(c.v[1], a.v[1], b.v[1]), vfmaq_f32(c.v[2], a.v[2], b.v[2]),
             vfmaq_f32(c.v[3], a.v[3], b.v[3])}};
  }
  static Vector16 larger(Vector16 a, Vector16 b) {
    return each(a, b, [](float32x4_t x, float32x4_t y) { return vbslq_f32(vcgtq_f32(x, y), x, y); });
  }
  static Vector16 round(Vector16 a) {
    return {{vrndnq_f32(a.v[0]), vrndnq_f32(a.v[1]), vrndnq_f32(a.v[2]), vrndnq_f32(a.v[3])}};
  }
  // 2^n as two factors of normal size, so that only the last product rounds.
  static Vector16 times_power(Vector16 p, Vector16 n) {
    return each(p, n, [](float32x4_t x, float32x4_t power) {
      const int32x4_t whole = vcvtnq_s32_f32(power), half = vshrq_n_s32(whole, 1), bias = vdupq_n_s32(127);
      const int32x4_t first = vshlq_n_s32(vaddq_s32(half, bias), 23);
      const int32x4_t second = vshlq_n_s32(vaddq_s32(vsubq_s32(whole, half), bias), 23);
      return vmulq_f32(vmulq_f32(x, vreinterpretq_f32_s32(first)), vreinterpretq_f32_s32(second));
    });
  }
  static Vector16 select_below(Vector16 a, Vector16 b, Vector16 x, Vector16 y) {
    Vector16 out;
    for (int i = 0; i < 4; i++) out.v[i] = vbslq_f32(vcltq_f32(a.v[i], b.v[i]), x.v[i], y.v[i]);
    return out;
  }
  static Vector16 magnitude(Vector16 a) {
    return {{vabsq_f32(a.v[0]), vabsq_f32(a.v[1]), vabsq_f32(a.v[2]), vabsq_f32(a.v[3])}};
  }
  static Vector16 with_sign(Vector16 a, Vector16 s) {
    return each(a, s, [](float32x4_t x, float32x4_t y) { return vbslq_f32(vdupq_n_u32(0x80000000u), y, x); });
  }

  // Tree: lane i + lane i+8, then i + i+4, then (0 + 1) + (2 + 3).
  static Vector16 reduce16(const Vector16* a) {
    return {{reduce4(a), reduce4(a + 4), reduce4(a + 8), reduce4(a + 12)}};
  }

 private:
  template <class F>
  static Vector16 each(Vector16 a, Vector16 b, F f) {
    return {{f(a.v[0], b.v[0]), f(a.v[1], b.v[1]), f(a.v[2], b.v[2]), f(a.v[3], b.v[3])}};
  }
  static float32x4_t half4(const std::uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
  static float32x4_t fold4(Vector16 a) { return vaddq_f32(vaddq_f32(a.v[0], a.v[2]), vaddq_f32(a.v[1], a.v[3])); }
  static float32x4_t reduce4(const Vector16* a) {
    return vpaddq_f32(vpaddq_f32(fold4(a[0]), fold4(a[1])), vpaddq_f32(fold4(a[2]), fold4(a[3])));
  }
};

}  // namespace voxtral_edge::neon_dotprod
