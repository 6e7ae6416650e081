// 16 floats in four 128-bit registers. Interface: shared/README.md.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace voxtral_edge::neon_dotprod {

struct Vector16 {
  float32x4_t v[4];

  static constexpr std::size_t kFloatRows = 6, kLines = 6, kSums = 4;

  static Vector16 zero() { return all(0.0f); }
  static Vector16 all(float x) {
    const float32x4_t value = vdupq_n_f32(x);
    return {{value, value, value, value}};
  }
  static Vector16 load(const float* p) {
    return {{vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}};
  }
  static Vector16 load_half(const std::uint16_t* p) { return {{half4(p), half4(p + 4), half4(p + 8), half4(p + 12)}}; }
  static Vector16 load_int8(const std::int8_t* p) {
    const int8x16_t bytes = vld1q_s8(p);
    const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_high_s8(bytes);
    return {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_high_s16(low)),
             vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_high_s16(high))}};
  }
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
  float largest_lane() const { return vmaxvq_f32(vmaxq_f32(vmaxq_f32(v[0], v[1]), vmaxq_f32(v[2], v[3]))); }

 private:
  template <class F>
  static Vector16 each(Vector16 a, Vector16 b, F f) {
    return {{f(a.v[0], b.v[0]), f(a.v[1], b.v[1]), f(a.v[2], b.v[2]), f(a.v[3], b.v[3])}};
  }
  static float32x4_t half4(const std::uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
};

}  // namespace voxtral_edge::neon_dotprod
