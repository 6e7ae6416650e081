#include <immintrin.h>

#include "kernels/avxvnni/functions.h"
#include "kernels/shared/compiler.h"

namespace voxtral_edge::avxvnni {

std::uint64_t integer_work(std::size_t repeats) {
  constexpr std::size_t kSums = 12;  // two pipes of five cycles need ten
  __m256i weight = _mm256_set1_epi8(3), activation = _mm256_set1_epi8(5), sums[kSums];
  VOXTRAL_EDGE_UNROLL
  for (std::size_t j = 0; j < kSums; j++) {
    sums[j] = _mm256_setzero_si256();
    __asm__ volatile("" : "+x"(sums[j]));  // equal sums would be computed once
  }
  for (std::size_t i = 0; i < repeats; i++) {
    __asm__("" : "+x"(weight), "+x"(activation));  // new values, as far as the compiler knows
    VOXTRAL_EDGE_UNROLL
    for (std::size_t j = 0; j < kSums; j++) sums[j] = _mm256_dpbusd_avx_epi32(sums[j], weight, activation);
  }
  VOXTRAL_EDGE_UNROLL
  for (std::size_t j = 0; j < kSums; j++) __asm__ volatile("" : : "x"(sums[j]));
  return std::uint64_t{32} * kSums * repeats;
}

}  // namespace voxtral_edge::avxvnni
