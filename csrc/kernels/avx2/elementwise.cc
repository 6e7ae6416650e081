#include "kernels/shared/elementwise.h"

#include "kernels/avx2/functions.h"
#include "kernels/avx2/vector16.h"

namespace voxtral_edge::avx2 {

void rms_norm(const float* x, const float* weight, const float* scale_minus_one, float eps, std::size_t count,
              float* y) {
  shared::rms_norm<Vector16>(x, weight, scale_minus_one, eps, count, y);
}

void silu_multiply(const float* gate, const float* up, std::size_t count, float* y) {
  shared::silu_multiply<Vector16>(gate, up, count, y);
}

void gelu(float* x, std::size_t count) { shared::gelu<Vector16>(x, count); }

void add(float* x, const float* y, std::size_t count) { shared::add<Vector16>(x, y, count); }

void to_f16(const float* x, std::size_t count, std::uint16_t* y) { shared::to_f16<Vector16>(x, count, y); }

void from_f16(const std::uint16_t* x, std::size_t count, float* y) { shared::from_f16<Vector16>(x, count, y); }

LogitStats logit_stats(const float* logits, std::size_t count) { return shared::logit_stats<Vector16>(logits, count); }

}  // namespace voxtral_edge::avx2
