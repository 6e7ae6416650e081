// What the q4 and q8 products share: one instruction multiplies 8 columns of two weight rows with those of two activation
// rows, twice the work of a dot product. Its 2 x 2 results are put in order once per block.
#pragma once

#include <arm_neon.h>

#include "kernels/neon_dotprod/block_product.h"

namespace voxtral_edge::neon_i8mm {
namespace {

using namespace neon_dotprod;

// a[4 p + i]: columns 8 i to 8 i + 7 of rows 2 p and 2 p + 1. An odd last row is paired with itself.
template <std::size_t M>
inline void load_pairs(const Activations& x, std::size_t b, int8x16_t* a) {
  for (std::size_t p = 0; p < (M + 1) / 2; p++) {
    const std::int8_t* first = x.block(2 * p, b);
    const std::int8_t* second = x.block(2 * p + 1 < M ? 2 * p + 1 : 2 * p, b);
    for (std::size_t i = 0; i < 4; i++) a[4 * p + i] = vcombine_s8(vld1_s8(first + 8 * i), vld1_s8(second + 8 * i));
  }
}

// From columns 8 i to 8 i + 3 and 8 i + 4 to 8 i + 7 of four weight rows: pairs[0] has all 8 of rows 0 and 1, pairs[1]
// of rows 2 and 3.
inline void pair_weights(int8x16_t left, int8x16_t right, int8x16_t* pairs) {
  const int32x4_t l = vreinterpretq_s32_s8(left), r = vreinterpretq_s32_s8(right);
  pairs[0] = vreinterpretq_s8_s32(vzip1q_s32(l, r));
  pairs[1] = vreinterpretq_s8_s32(vzip2q_s32(l, r));
}

// dots[m] = sum over the 32 columns of four weight rows times row m; w[2 i + j]: pair j of columns 8 i to 8 i + 7.
template <std::size_t M>
inline void pair_dots(const int8x16_t* w, const int8x16_t* a, int32x4_t* dots) {
  constexpr std::size_t kPairs = (M + 1) / 2;
  int32x4_t products[2 * kPairs];
  for (std::size_t j = 0; j < 2 * kPairs; j++) products[j] = vdupq_n_s32(0);
  for (std::size_t i = 0; i < 4; i++)
    for (std::size_t p = 0; p < kPairs; p++)
      for (std::size_t j = 0; j < 2; j++)
        products[2 * p + j] = vmmlaq_s32(products[2 * p + j], w[2 * i + j], a[4 * p + i]);
  for (std::size_t p = 0; p < kPairs; p++) {
    dots[2 * p] = vuzp1q_s32(products[2 * p], products[2 * p + 1]);
    if (2 * p + 1 < M) dots[2 * p + 1] = vuzp2q_s32(products[2 * p], products[2 * p + 1]);
  }
}

}  // namespace
}  // namespace voxtral_edge::neon_i8mm
