// What the q4 and q8 products share: two registers hold 8 weight rows each, activations are broadcast four columns at
// a time.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/shared/block_product.h"
#include "kernels/shared/compiler.h"

namespace voxtral_edge::avx2 {
// Internal to each file that includes this: avxvnni builds the same functions with other flags, and the linker must not
// choose between the two.
namespace {

struct Avx2Product;
using Activations = shared::Activations<Avx2Product>;

inline __m256i load(const std::uint8_t* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }

inline __m256i broadcast4(const std::int8_t* p) {
  int word;
  __builtin_memcpy(&word, p, sizeof word);
  return _mm256_set1_epi32(word);
}

// Keeps running sums in their registers: GCC otherwise reorders the (exact) integer additions of an unrolled block into
// a tree, holds every product until its end, and spills most of them (half the speed).
template <std::size_t Count>
VOXTRAL_EDGE_INLINE inline void pin(__m256i* sums) {
  for (std::size_t j = 0; j < Count; j++) __asm__("" : "+x"(sums[j]));
}

// sums[2 m + h] += float(dots[2 m + h]) * scales, h = half of the 16 weight rows.
template <std::size_t M>
VOXTRAL_EDGE_INLINE inline void add_scaled(const __m256i* dots, const std::uint8_t* scales, const Activations& x,
                                           std::size_t b, __m256* sums) {
  for (std::size_t h = 0; h < 2; h++) {
    const __m256 weight_scale = _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(scales + 16 * h)));
    for (std::size_t m = 0; m < M; m++)
      sums[2 * m + h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[2 * m + h]),
                                        _mm256_mul_ps(weight_scale, _mm256_set1_ps(x.scale(m, b))), sums[2 * m + h]);
  }
}

// What both products have in common (shared/block_product.h).
struct Avx2Product {
  using Activations = shared::Activations<Avx2Product>;
  using Vector = __m256;
  static constexpr std::size_t kVectors = 2;
  static constexpr std::size_t kMostRows = 4;  // 8 integer sums and 4 weight vectors of 16 registers
  // Weights are read once, front to back; 9 KiB ahead as measured for AVX-512 on the same memory.
  static constexpr std::size_t kPrefetchAhead = 9216;

  static constexpr std::size_t pass_vectors(std::size_t) { return kVectors; }
  static Vector zero() { return _mm256_setzero_ps(); }
  static void store(Vector sum, const float* bias, float* y) {
    _mm256_storeu_ps(y, bias ? _mm256_add_ps(sum, _mm256_loadu_ps(bias)) : sum);
  }
};

}  // namespace
}  // namespace voxtral_edge::avx2
