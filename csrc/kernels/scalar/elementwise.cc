#include <cmath>

#include "kernels/half.h"
#include "kernels/scalar/functions.h"

namespace voxtral_edge::scalar {

void rms_norm(const float* x, const float* weight, const float* scale_minus_one, float eps, std::size_t count,
              float* y) {
  double sum = 0;
  for (std::size_t i = 0; i < count; i++) sum += static_cast<double>(x[i]) * x[i];
  const float inverse = 1.0f / std::sqrt(static_cast<float>(sum / static_cast<double>(count)) + eps);
  for (std::size_t i = 0; i < count; i++) {
    const float normed = x[i] * inverse * weight[i];
    y[i] = scale_minus_one ? normed * (1.0f + scale_minus_one[i]) : normed;
  }
}

void silu_multiply(const float* gate, const float* up, std::size_t count, float* y) {
  for (std::size_t i = 0; i < count; i++) y[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

void gelu(float* x, std::size_t count) {
  constexpr float kInverseSqrt2 = 0.70710678118654752f;
  for (std::size_t i = 0; i < count; i++) x[i] = 0.5f * x[i] * (1.0f + std::erf(x[i] * kInverseSqrt2));
}

void add(float* x, const float* y, std::size_t count) {
  for (std::size_t i = 0; i < count; i++) x[i] += y[i];
}

void to_f16(const float* x, std::size_t count, std::uint16_t* y) {
  for (std::size_t i = 0; i < count; i++) y[i] = half_from_float(x[i]);
}

void from_f16(const std::uint16_t* x, std::size_t count, float* y) {
  for (std::size_t i = 0; i < count; i++) y[i] = float_from_half(x[i]);
}

LogitStats logit_stats(const float* logits, std::size_t count) {
  LogitStats stats{-INFINITY, 0.0f, 0};
  for (std::size_t i = 0; i < count; i++)
    if (logits[i] > stats.max) {
      stats.max = logits[i];
      stats.argmax = static_cast<std::uint32_t>(i);
    }
  double sum = 0;
  for (std::size_t i = 0; i < count; i++) sum += std::exp(logits[i] - stats.max);
  stats.sum_exp = static_cast<float>(sum);
  return stats;
}

}  // namespace voxtral_edge::scalar
