#include <immintrin.h>

#include "kernels/avx512vnni/functions.h"
#include "kernels/shared/compiler.h"

namespace voxtral_edge::avx512vnni {

std::uint64_t integer_work(std::size_t repeats) {
  constexpr std::size_t kSums = 16;  // two pipes of five cycles need ten
  __m512i weight = _mm512_set1_epi8(3), activation = _mm512_set1_epi8(5), sums[kSums];
  VOXTRAL_EDGE_UNROLL
  for (std::size_t j = 0; j < kSums; j++) {
    sums[j] = _mm512_setzero_si512();
    __asm__ volatile("" : "+v"(sums[j]));  // equal sums would be computed once
  }
  for (std::size_t i = 0; i < repeats; i++) {
    __asm__("" : "+v"(weight), "+v"(activation));  // new values, as far as the compiler knows
    VOXTRAL_EDGE_UNROLL
    for (std::size_t j = 0; j < kSums; j++) sums[j] = _mm512_dpbusd_epi32(sums[j], weight, activation);
  }
  VOXTRAL_EDGE_UNROLL
  for (std::size_t j = 0; j < kSums; j++) __asm__ volatile("" : : "v"(sums[j]));
  return std::uint64_t{64} * kSums * repeats;
}

}  // namespace voxtral_edge::avx512vnni
