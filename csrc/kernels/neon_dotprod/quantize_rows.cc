#include <arm_neon.h>

#include "kernels/neon_dotprod/functions.h"
#include "kernels/quantize_limits.h"
#include "kernels/shared/compiler.h"
#include "kernels/shared/quantize_rows.h"

namespace voxtral_edge::neon_dotprod {
namespace {

inline uint32x4_t magnitudes(float32x4_t x) { return vandq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(kMagnitudeBits)); }

inline void quantize_block(const float* x, std::int8_t* values, float* scale, std::int32_t* sum) {
  float32x4_t v[8];
  uint32x4_t sizes = vdupq_n_u32(0);
  for (int i = 0; i < 8; i++) {
    v[i] = vld1q_f32(x + 4 * i);
    sizes = vmaxq_u32(sizes, magnitudes(v[i]));
  }
  const std::uint32_t largest = vmaxvq_u32(sizes);
  *scale = 0.0f;
  *sum = 0;
  int8x16_t low = vdupq_n_s8(0), high = low;
  if (largest >= kTinyBits) {
    float absmax;
    __builtin_memcpy(&absmax, &largest, sizeof absmax);
    *scale = absmax / 127.0f;
    if (largest < kInfinityBits) {
      const float reciprocal = 127.0f / absmax;
      int32x4_t q[8], total = vdupq_n_s32(0);
      for (int i = 0; i < 8; i++) {
        q[i] = vcvtnq_s32_f32(vmulq_n_f32(v[i], reciprocal));
        total = vaddq_s32(total, q[i]);
      }
      *sum = vaddvq_s32(total);
      int16x8_t pairs[4];
      for (int i = 0; i < 4; i++) pairs[i] = vcombine_s16(vmovn_s32(q[2 * i]), vmovn_s32(q[2 * i + 1]));
      low = vcombine_s8(vmovn_s16(pairs[0]), vmovn_s16(pairs[1]));
      high = vcombine_s8(vmovn_s16(pairs[2]), vmovn_s16(pairs[3]));
    }
  }
  vst1q_s8(values, low);
  vst1q_s8(values + 16, high);
}

}  // namespace

void quantize_rows(const float* x, std::size_t rows, std::size_t columns, std::size_t x_stride,
                   const QuantizedRows& out) {
  shared::quantize_rows(x, rows, columns, x_stride, out,
                        [](const float* from, std::int8_t* values, float* scale, std::int32_t* sum)
                            VOXTRAL_EDGE_INLINE { quantize_block(from, values, scale, sum); });
}

}  // namespace voxtral_edge::neon_dotprod
