#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/quantize_limits.h"
#include "kernels/scalar/functions.h"
#include "kernels/shared/compiler.h"
#include "kernels/shared/quantize_rows.h"

namespace voxtral_edge::scalar {
namespace {

void quantize_block(const float* x, std::int8_t* values, float* scale, std::int32_t* sum) {
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < kBlockColumns; i++) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x[i]) & kMagnitudeBits;
    if (bits > largest) largest = bits;
  }
  std::memset(values, 0, kBlockColumns);
  *sum = 0;
  *scale = 0.0f;
  if (largest < kTinyBits) return;
  const float absmax = std::bit_cast<float>(largest);
  *scale = absmax / 127.0f;
  if (largest >= kInfinityBits) return;
  const float reciprocal = 127.0f / absmax;
  for (std::size_t i = 0; i < kBlockColumns; i++) {
    const auto value = static_cast<std::int32_t>(std::nearbyint(x[i] * reciprocal));
    values[i] = static_cast<std::int8_t>(value);
    *sum += value;
  }
}

}  // namespace

void quantize_rows(const float* x, std::size_t rows, std::size_t columns, std::size_t x_stride,
                   const QuantizedRows& out) {
  shared::quantize_rows(x, rows, columns, x_stride, out,
                        [](const float* from, std::int8_t* values, float* scale, std::int32_t* sum)
                            VOXTRAL_EDGE_INLINE { quantize_block(from, values, scale, sum); });
}

}  // namespace voxtral_edge::scalar
