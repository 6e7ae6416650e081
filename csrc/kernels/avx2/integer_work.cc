#include <immintrin.h>

#include "kernels/avx2/functions.h"
#include "kernels/shared/compiler.h"

namespace voxtral_edge::avx2 {

// What the q4 product does per 32 products: a multiplication of byte pairs and an addition of 16-bit sums.
std::uint64_t integer_work(std::size_t repeats) {
  constexpr std::size_t kSums = 8;
  __m256i weight = _mm256_set1_epi8(3), activation = _mm256_set1_epi8(5), sums[kSums];
  VOXTRAL_EDGE_UNROLL
  for (std::size_t j = 0; j < kSums; j++) {
    sums[j] = _mm256_setzero_si256();
    __asm__ volatile("" : "+x"(sums[j]));  // equal sums would be computed once
  }
  for (std::size_t i = 0; i < repeats; i++) {
    VOXTRAL_EDGE_UNROLL
    for (std::size_t j = 0; j < kSums; j++) {
      __asm__("" : "+x"(weight));  // a new value, as far as the compiler knows, so that it multiplies again
      sums[j] = _mm256_add_epi16(sums[j], _mm256_maddubs_epi16(weight, activation));
    }
  }
  VOXTRAL_EDGE_UNROLL
  for (std::size_t j = 0; j < kSums; j++) __asm__ volatile("" : : "x"(sums[j]));
  return std::uint64_t{32} * kSums * repeats;
}

}  // namespace voxtral_edge::avx2
