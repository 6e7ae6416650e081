// Integer block sums that turn into floats with one subtraction. 2^23 + 2^22 is a float whose last bit counts 1: a sum
// that begins at its bits, and stays below 2^22 (the largest is 2^20), ends at the bits of 2^23 + 2^22 + sum, so that
// subtracting 2^23 + 2^22 converts it exactly. scvtf would keep one vector pipe busy for two cycles, of two pipes on a
// Cortex-A76 and four on a Neoverse V2; a subtraction takes any pipe for one.
#pragma once

#include <arm_neon.h>

#include <cstdint>

namespace voxtral_edge::neon_dotprod {
namespace {

constexpr std::int32_t kSumBegin = 0x4B400000;  // the bits of kRound
constexpr float kRound = 12582912.0f;

// Four sums that begin at minus `share`, the zero point's.
inline int32x4_t begin_sums(std::int32_t share) {
  std::int32_t begin = kSumBegin;
  __asm__("" : "+r"(begin));  // known, GCC would divide it by the zero point and multiply in vectors
  return vdupq_n_s32(begin - share);
}

inline float32x4_t float_of_sums(int32x4_t sums) { return vsubq_f32(vreinterpretq_f32_s32(sums), vdupq_n_f32(kRound)); }

}  // namespace
}  // namespace voxtral_edge::neon_dotprod
