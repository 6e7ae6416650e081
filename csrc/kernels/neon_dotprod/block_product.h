// What the q4 and q8 products share: a register holds 4 columns of 4 weight rows, and the dot product instruction takes
// its four activations from a lane, so they need no broadcast. With one or two activation rows the sums of all 16
// weight rows stay in registers; with more, a pass works off four weight rows, which leaves one float sum, one block
// sum and 16 activations per row. (All weight rows at once spilled from three rows on: 295 cycles per tile and 4 rows
// on a Neoverse N1 by llvm-mca, now 216.)
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/neon_dotprod/block_sums.h"
#include "kernels/shared/block_product.h"
#include "kernels/shared/compiler.h"

namespace voxtral_edge::neon_dotprod {
namespace {

struct NeonProduct;
using Activations = shared::Activations<NeonProduct>;

// dots[m] += sum over half a block of weight * activation, for four weight rows; w[i] holds their columns 4 i to 4 i +
// 3 of this half, which lane i of the row's 16 activations multiplies.
template <std::size_t M>
VOXTRAL_EDGE_INLINE inline void add_dots(const int8x16_t* w, const Activations& x, std::size_t b, std::size_t half,
                                         int32x4_t* dots) {
  int8x16_t a[M];
  for (std::size_t m = 0; m < M; m++) a[m] = vld1q_s8(x.block(m, b) + 16 * half);
  for (std::size_t m = 0; m < M; m++) dots[m] = vdotq_laneq_s32(dots[m], w[0], a[m], 0);
  for (std::size_t m = 0; m < M; m++) dots[m] = vdotq_laneq_s32(dots[m], w[1], a[m], 1);
  for (std::size_t m = 0; m < M; m++) dots[m] = vdotq_laneq_s32(dots[m], w[2], a[m], 2);
  for (std::size_t m = 0; m < M; m++) dots[m] = vdotq_laneq_s32(dots[m], w[3], a[m], 3);
}

// sums[m] += float(dots[m]) * scales, for four weight rows.
template <std::size_t M>
VOXTRAL_EDGE_INLINE inline void add_scaled(const int32x4_t* dots, const std::uint8_t* scales, const Activations& x,
                                           std::size_t b, float32x4_t* sums, std::size_t stride) {
  const float32x4_t weight_scale = vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(scales)));
  for (std::size_t m = 0; m < M; m++)
    sums[m * stride] = vfmaq_f32(sums[m * stride], float_of_sums(dots[m]), vmulq_n_f32(weight_scale, x.scale(m, b)));
}

// What both products have in common (shared/block_product.h).
struct NeonProduct {
  using Activations = shared::Activations<NeonProduct>;
  using Vector = float32x4_t;
  static constexpr std::size_t kVectors = 4;
  // 150 ns of memory latency at 10 GB/s per core are 1.5 KiB; arithmetic between the lines asks for more.
  static constexpr std::size_t kPrefetchAhead = 4608;

  static constexpr std::size_t pass_vectors(std::size_t rows) { return rows <= 2 ? kVectors : 1; }
  static Vector zero() { return vdupq_n_f32(0.0f); }
  static void store(Vector sum, const float* bias, float* y) {
    vst1q_f32(y, bias ? vaddq_f32(sum, vld1q_f32(bias)) : sum);
  }
};

}  // namespace
}  // namespace voxtral_edge::neon_dotprod
