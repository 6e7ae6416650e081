// What the q4 and q8 products share: a register holds 4 columns of 4 weight rows, and the dot product instruction takes
// its four activations from a lane, so they need no broadcast. A block is worked off four weight rows at a time: 8
// weight vectors, the activations of all rows and one sum per row then fit the 32 registers without spilling.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/shared/block_product.h"
#include "kernels/shared/compiler.h"

namespace voxtral_edge::neon_dotprod {
namespace {

struct NeonProduct;
using Activations = shared::Activations<NeonProduct>;

// The 32 activations of M rows in one block.
template <std::size_t M>
VOXTRAL_EDGE_INLINE inline void load_activations(const Activations& x, std::size_t b, int8x16_t* a) {
  for (std::size_t m = 0; m < M; m++) {
    a[2 * m] = vld1q_s8(x.block(m, b));
    a[2 * m + 1] = vld1q_s8(x.block(m, b) + 16);
  }
}

// dots[m] += sum over the 32 columns of a block of weight * activation, for four weight rows; w[i] holds their columns
// 4 i to 4 i + 3, which lane i % 4 of the row's activations multiplies.
template <std::size_t M>
VOXTRAL_EDGE_INLINE inline void add_dots(const int8x16_t* w, const int8x16_t* a, int32x4_t* dots) {
  for (std::size_t m = 0; m < M; m++) dots[m] = vdotq_laneq_s32(dots[m], w[0], a[2 * m], 0);
  for (std::size_t m = 0; m < M; m++) dots[m] = vdotq_laneq_s32(dots[m], w[1], a[2 * m], 1);
  for (std::size_t m = 0; m < M; m++) dots[m] = vdotq_laneq_s32(dots[m], w[2], a[2 * m], 2);
  for (std::size_t m = 0; m < M; m++) dots[m] = vdotq_laneq_s32(dots[m], w[3], a[2 * m], 3);
  for (std::size_t m = 0; m < M; m++) dots[m] = vdotq_laneq_s32(dots[m], w[4], a[2 * m + 1], 0);
  for (std::size_t m = 0; m < M; m++) dots[m] = vdotq_laneq_s32(dots[m], w[5], a[2 * m + 1], 1);
  for (std::size_t m = 0; m < M; m++) dots[m] = vdotq_laneq_s32(dots[m], w[6], a[2 * m + 1], 2);
  for (std::size_t m = 0; m < M; m++) dots[m] = vdotq_laneq_s32(dots[m], w[7], a[2 * m + 1], 3);
}

// sums[4 m + h] += float(dots[m]) * scales, for weight rows 4 h to 4 h + 3 of the group.
template <std::size_t M>
VOXTRAL_EDGE_INLINE inline void add_scaled(const int32x4_t* dots, const std::uint8_t* scales, std::size_t h,
                                           const Activations& x, std::size_t b, float32x4_t* sums) {
  const float32x4_t weight_scale = vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(scales + 8 * h)));
  for (std::size_t m = 0; m < M; m++)
    sums[4 * m + h] = vfmaq_f32(sums[4 * m + h], vcvtq_f32_s32(dots[m]), vmulq_n_f32(weight_scale, x.scale(m, b)));
}

// What both products have in common (shared/block_product.h).
struct NeonProduct {
  using Activations = shared::Activations<NeonProduct>;
  using Vector = float32x4_t;
  static constexpr std::size_t kVectors = 4;
  static constexpr std::size_t kMostRows = 6;  // 6 sums, 12 activations and 8 weight vectors of 32 registers
  // 150 ns of memory latency at 10 GB/s per core are 1.5 KiB; arithmetic between the lines asks for more.
  static constexpr std::size_t kPrefetchAhead = 4608;

  static Vector zero() { return vdupq_n_f32(0.0f); }
  static void store(Vector sum, const float* bias, float* y) {
    vst1q_f32(y, bias ? vaddq_f32(sum, vld1q_f32(bias)) : sum);
  }
};

}  // namespace
}  // namespace voxtral_edge::neon_dotprod
