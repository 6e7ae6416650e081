// What the q4 and q8 products share: a lane per weight row, activations broadcast four columns at a time.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace voxtral_edge::avx512vnni {

inline constexpr std::size_t kMostRows = 16;  // 16 sums and 8 weight vectors of 32 registers

// Weights are read once, front to back. 9 KiB ahead covers ~150 ns at the pace of one thread even when 8 rows' worth of
// arithmetic keeps the reorder buffer from looking ahead by itself (2.3 KiB: 70 % of the read bandwidth at 8 rows, 9 KiB:
// 95 %); more gains nothing.
inline constexpr std::size_t kPrefetchAhead = 9216;

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

// dot += four columns of 16 weight rows (unsigned bytes) times four activations at x. Written out because GCC (12)
// does not fold the broadcast into the instruction; a separate one costs up to a third of the speed with few rows.
inline __m512i dot4(__m512i dot, __m512i w, const std::int8_t* x) {
  struct __attribute__((may_alias, packed)) Word {
    std::int32_t value;
  };
  __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(dot) : "v"(w), "m"(reinterpret_cast<const Word*>(x)->value));
  return dot;
}

// Sum over 32 columns of (weight - zero point) * activation for 16 weight rows; w[i] holds columns 4 i to 4 i + 3.
template <int ZeroPointBits>
inline __m512i dot_block(const __m512i* w, const std::int8_t* x, __m512i activation_sum) {
  __m512i dot = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(activation_sum, ZeroPointBits));
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) dot = dot4(dot, w[i], x + 4 * i);
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
