// exp and erf on vectors of 16 floats, sums of lanes, loads of fewer than 16.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/shared/compiler.h"

namespace voxtral_edge::shared {

inline constexpr std::size_t kLanes = 16;

template <class V>
VOXTRAL_EDGE_INLINE inline V load16(const float* p) {
  return V::load(p);
}
template <class V>
VOXTRAL_EDGE_INLINE inline V load16(const std::uint16_t* p) {
  return V::load_half(p);
}
template <class V>
VOXTRAL_EDGE_INLINE inline V load16(const std::int8_t* p) {
  return V::load_int8(p);
}

// The first `count` < 16 lanes from memory, the rest `fill`. Reads nothing beyond them.
template <class V>
VOXTRAL_EDGE_INLINE inline V load_some(const float* p, std::size_t count, float fill) {
  float lanes[kLanes];
  for (std::size_t i = 0; i < kLanes; i++) lanes[i] = i < count ? p[i] : fill;
  return V::load(lanes);
}

template <class V>
VOXTRAL_EDGE_INLINE inline void store_some(V v, float* p, std::size_t count) {
  float lanes[kLanes];
  v.store(lanes);
  for (std::size_t i = 0; i < count; i++) p[i] = lanes[i];
}

// Tree: lane i + lane i+8, then i + i+4, then (0 + 1) + (2 + 3).
template <class V>
VOXTRAL_EDGE_INLINE inline float sum_lanes(V v) {
  float l[kLanes];
  v.store(l);
  for (std::size_t i = 0; i < 8; i++) l[i] += l[i + 8];
  for (std::size_t i = 0; i < 4; i++) l[i] += l[i + 4];
  return (l[0] + l[1]) + (l[2] + l[3]);
}

// e^x for x >= -104 or NaN: x = n ln 2 + r, |r| <= 0.347, e^r = 1 + r + r^2 q(r) with q fitted to a relative error of
// 3.3e-9.
template <class V>
VOXTRAL_EDGE_INLINE inline V exp16_in_range(V x) {
  const V n = V::round(x * V::all(1.44269504088896341f));
  V r = V::fma(n, V::all(-0x1.62e430p-1f), x);  // ln 2 in two parts
  r = V::fma(n, V::all(0x1.05c610p-29f), r);
  V q = V::all(0x1.6a1a6ep-10f);
  q = V::fma(q, r, V::all(0x1.123fc6p-7f));
  q = V::fma(q, r, V::all(0x1.555916p-5f));
  q = V::fma(q, r, V::all(0x1.55548ap-3f));
  q = V::fma(q, r, V::all(0x1.fffffcp-2f));
  return V::times_power(V::all(1.0f) + V::fma(q, r * r, r), n);
}

// e^x to 2 units in the last place. Underflows through the subnormals to 0, exp(-infinity) = 0, NaN stays NaN.
template <class V>
VOXTRAL_EDGE_INLINE inline V exp16_of_negative(V x) {
  return exp16_in_range(V::larger(V::all(-104.0f), x));  // below: 0 in any case
}

// The same for any x. Overflows to infinity.
template <class V>
VOXTRAL_EDGE_INLINE inline V exp16(V x) {
  const V high = V::all(89.0f);  // beyond: infinity in any case
  return exp16_of_negative(V::select_below(high, x, high, x));
}

// erf(x) to 2e-7: x P(x^2) below 1 (fit 5.7e-10), 1 - exp(-Q(|x|)) from 1 to 4 (fit 1.0e-9), then +-1.
template <class V>
VOXTRAL_EDGE_INLINE inline V erf16(V x) {
  const V size = V::magnitude(x), square = size * size;
  V p = V::all(0x1.40be48p-14f);
  p = V::fma(p, square, V::all(-0x1.a0687ep-11f));
  p = V::fma(p, square, V::all(0x1.5375c6p-8f));
  p = V::fma(p, square, V::all(-0x1.b7e328p-6f));
  p = V::fma(p, square, V::all(0x1.ce2b58p-4f));
  p = V::fma(p, square, V::all(-0x1.812730p-2f));
  p = V::fma(p, square, V::all(0x1.20dd74p+0f));
  const V t = V::select_below(V::all(4.0f), size, V::all(4.0f), size);
  V q = V::all(-0x1.852dc4p-13f);
  q = V::fma(q, t, V::all(0x1.814d22p-9f));
  q = V::fma(q, t, V::all(-0x1.654246p-6f));
  q = V::fma(q, t, V::all(0x1.a60a94p-4f));
  q = V::fma(q, t, V::all(0x1.46c582p-1f));
  q = V::fma(q, t, V::all(0x1.2085b2p+0f));
  q = V::fma(q, t, V::all(0x1.72e404p-12f));
  const V tail = V::all(1.0f) - exp16(V::zero() - q);
  return V::select_below(size, V::all(1.0f), x * p, V::with_sign(tail, x));
}

}  // namespace voxtral_edge::shared
