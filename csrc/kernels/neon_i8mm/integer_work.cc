#include <arm_neon.h>

#include "kernels/neon_i8mm/functions.h"
#include "kernels/shared/compiler.h"

namespace voxtral_edge::neon_i8mm {

std::uint64_t integer_work(std::size_t repeats) {
  constexpr std::size_t kSums = 16;  // four pipes of three or four cycles
  int8x16_t weight = vdupq_n_s8(3), activation = vdupq_n_s8(5);
  int32x4_t sums[kSums];
  VOXTRAL_EDGE_UNROLL
  for (std::size_t j = 0; j < kSums; j++) {
    sums[j] = vdupq_n_s32(0);
    __asm__ volatile("" : "+w"(sums[j]));  // equal sums would be computed once
  }
  for (std::size_t i = 0; i < repeats; i++) {
    __asm__("" : "+w"(weight), "+w"(activation));  // new values, as far as the compiler knows
    VOXTRAL_EDGE_UNROLL
    for (std::size_t j = 0; j < kSums; j++) sums[j] = vmmlaq_s32(sums[j], weight, activation);
  }
  VOXTRAL_EDGE_UNROLL
  for (std::size_t j = 0; j < kSums; j++) __asm__ volatile("" : : "w"(sums[j]));
  return std::uint64_t{32} * kSums * repeats;
}

}  // namespace voxtral_edge::neon_i8mm
