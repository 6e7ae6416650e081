// Norm, activations, conversions and logit statistics.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/shared/vector_math.h"

namespace voxtral_edge::shared {

template <class V>
void rms_norm(const float* x, const float* weight, const float* scale_minus_one, float eps, std::size_t count,
              float* y) {
  V sums[4] = {V::zero(), V::zero(), V::zero(), V::zero()};  // four chains hide the latency of the additions
  const std::size_t whole = count / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    const V v = V::load(x + i);
    sums[i / kLanes % 4] = V::fma(v, v, sums[i / kLanes % 4]);
  }
  if (whole < count) {
    const V v = load_some<V>(x + whole, count - whole, 0.0f);
    sums[whole / kLanes % 4] = V::fma(v, v, sums[whole / kLanes % 4]);
  }
  const float sum = sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
  const float inverse = 1.0f / __builtin_sqrtf(sum / static_cast<float>(count) + eps);
  const auto normed = [&](V v, V w) VOXTRAL_EDGE_INLINE { return v * V::all(inverse) * w; };
  for (std::size_t i = 0; i < whole; i += kLanes) {
    V v = normed(V::load(x + i), V::load(weight + i));
    if (scale_minus_one) v = v * (V::all(1.0f) + V::load(scale_minus_one + i));
    v.store(y + i);
  }
  if (whole < count) {
    const std::size_t left = count - whole;
    V v = normed(load_some<V>(x + whole, left, 0.0f), load_some<V>(weight + whole, left, 0.0f));
    if (scale_minus_one) v = v * (V::all(1.0f) + load_some<V>(scale_minus_one + whole, left, 0.0f));
    store_some(v, y + whole, left);
  }
}

// y = f(a, b) lane by lane.
template <class V, class F>
void map2(const float* a, const float* b, std::size_t count, float* y, F f) {
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) f(V::load(a + i), V::load(b + i)).store(y + i);
  if (i == count) return;
  const std::size_t left = count - i;
  store_some(f(load_some<V>(a + i, left, 0.0f), load_some<V>(b + i, left, 0.0f)), y + i, left);
}

template <class V>
void silu_multiply(const float* gate, const float* up, std::size_t count, float* y) {
  map2<V>(gate, up, count, y,
          [](V g, V u) VOXTRAL_EDGE_INLINE { return g / (V::all(1.0f) + exp16(V::zero() - g)) * u; });
}

template <class V>
void gelu(float* x, std::size_t count) {
  map2<V>(x, x, count, x, [](V v, V) VOXTRAL_EDGE_INLINE {
    return V::all(0.5f) * v * (V::all(1.0f) + erf16(v * V::all(0.70710678118654752f)));
  });
}

template <class V>
void add(float* x, const float* y, std::size_t count) {
  map2<V>(x, y, count, x, [](V a, V b) VOXTRAL_EDGE_INLINE { return a + b; });
}

template <class V>
void to_f16(const float* x, std::size_t count, std::uint16_t* y) {
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) V::load(x + i).store_half(y + i);
  if (i == count) return;
  std::uint16_t lanes[kLanes];
  load_some<V>(x + i, count - i, 0.0f).store_half(lanes);
  for (std::size_t j = 0; i + j < count; j++) y[i + j] = lanes[j];
}

template <class V>
void from_f16(const std::uint16_t* x, std::size_t count, float* y) {
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) V::load_half(x + i).store(y + i);
  if (i == count) return;
  std::uint16_t lanes[kLanes] = {};
  for (std::size_t j = 0; i + j < count; j++) lanes[j] = x[i + j];
  store_some(V::load_half(lanes), y + i, count - i);
}

// Sums in runs of 4096 logits: 131072 of them in 16 chains would lose a digit.
template <class V>
LogitStats logit_stats(const float* logits, std::size_t count) {
  constexpr std::size_t kRun = 4096;
  const float lowest = -__builtin_inff();
  LogitStats stats{lowest, 0.0f, 0};
  for (std::size_t begin = 0; begin < count; begin += kRun) {
    const std::size_t end = begin + kRun < count ? begin + kRun : count;
    V largest = V::all(lowest);
    std::size_t i = begin;
    for (; i + kLanes <= end; i += kLanes) largest = V::larger(V::load(logits + i), largest);
    if (i < end) largest = V::larger(load_some<V>(logits + i, end - i, lowest), largest);
    const float run_max = largest.largest_lane();
    if (!(run_max > stats.max)) continue;
    stats.max = run_max;
    for (i = begin; logits[i] != run_max; i++) {
    }
    stats.argmax = static_cast<std::uint32_t>(i);
  }
  for (std::size_t begin = 0; begin < count; begin += kRun) {
    const std::size_t end = begin + kRun < count ? begin + kRun : count;
    V sum = V::zero();
    std::size_t i = begin;
    for (; i + kLanes <= end; i += kLanes) sum = sum + exp16(V::load(logits + i) - V::all(stats.max));
    if (i < end) sum = sum + exp16(load_some<V>(logits + i, end - i, lowest) - V::all(stats.max));
    stats.sum_exp += sum_lanes(sum);
  }
  return stats;
}

}  // namespace voxtral_edge::shared
