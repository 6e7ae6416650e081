// What the q4 and q8 products share: a lane per weight row, activations broadcast four columns at a time.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace voxtral_edge::avx512vnni {

inline constexpr std::size_t kMostRows = 16;  // 16 sums and 8 weight vectors of 32 registers

// Weights are read once, front to back: the hardware prefetcher stops at page ends, this does not.
inline constexpr std::size_t kPrefetchAhead = 2304;

template <std::size_t Bytes>
inline void prefetch_tile(const std::uint8_t* tile) {
  for (std::size_t i = 0; i < Bytes; i += 64)
    _mm_prefetch(reinterpret_cast<const char*>(tile) + kPrefetchAhead + i, _MM_HINT_T0);
}

// Quantised activations from row `first` on.
struct Activations {
  const std::int8_t* values;
  const float* scales;
  const std::int32_t* sums;
  std::size_t columns, blocks;

  Activations(const QuantizedRows& x, std::size_t first)
      : values(x.values + first * x.padded_columns),
        scales(x.scales + first * (x.padded_columns / kBlockColumns)),
        sums(x.sums + first * (x.padded_columns / kBlockColumns)),
        columns(x.padded_columns),
        blocks(x.padded_columns / kBlockColumns) {}

  const std::int8_t* block(std::size_t m, std::size_t b) const { return values + m * columns + b * kBlockColumns; }
  __m512i sum(std::size_t m, std::size_t b) const { return _mm512_set1_epi32(sums[m * blocks + b]); }
  __m512 scale(std::size_t m, std::size_t b) const { return _mm512_set1_ps(scales[m * blocks + b]); }
};

inline __m512i broadcast4(const std::int8_t* p) {
  int word;
  __builtin_memcpy(&word, p, sizeof word);
  return _mm512_set1_epi32(word);
}

// Sum over 32 columns of weight * activation for 16 weight rows; w[i] holds columns 4 i to 4 i + 3.
inline __m512i dot_block(const __m512i* w, const std::int8_t* x) {
  __m512i dot = _mm512_setzero_si512();
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) dot = _mm512_dpbusd_epi32(dot, w[i], broadcast4(x + 4 * i));
  return dot;
}

inline __m512 load_scales(const std::uint8_t* scales) {
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(scales)));
}

inline __m512 add_scaled(__m512i dot, __m512 weight_scale, __m512 activation_scale, __m512 sum) {
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(weight_scale, activation_scale), sum);
}

template <std::size_t M>
inline void store_sums(const __m512* sums, const float* bias, float* y, std::size_t y_stride) {
  for (std::size_t m = 0; m < M; m++)
    _mm512_storeu_ps(y + m * y_stride, bias ? _mm512_add_ps(sums[m], _mm512_loadu_ps(bias)) : sums[m]);
}

}  // namespace voxtral_edge::avx512vnni
