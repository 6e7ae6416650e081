#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/quantize_limits.h"
#include "kernels/scalar/functions.h"

namespace voxtral_edge::scalar {
namespace {

// One block of up to 32 values; `count` of them exist.
void quantize_block(const float* x, std::size_t count, std::int8_t* values, float* scale, std::int32_t* sum) {
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < count; i++) {
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
  for (std::size_t i = 0; i < count; i++) {
    const auto value = static_cast<std::int32_t>(std::nearbyint(x[i] * reciprocal));
    values[i] = static_cast<std::int8_t>(value);
    *sum += value;
  }
}

}  // namespace

void quantize_rows(const float* x, std::size_t rows, std::size_t columns, std::size_t x_stride,
                   const QuantizedRows& out) {
  const std::size_t blocks = out.padded_columns / kBlockColumns;
  for (std::size_t m = 0; m < rows; m++)
    for (std::size_t b = 0; b < blocks; b++) {
      const std::size_t begin = b * kBlockColumns;
      const std::size_t left = begin < columns ? columns - begin : 0;
      quantize_block(x + m * x_stride + (left ? begin : 0), left < kBlockColumns ? left : kBlockColumns,
                     out.values + m * out.padded_columns + begin, out.scales + m * blocks + b,
                     out.sums + m * blocks + b);
    }
}

}  // namespace voxtral_edge::scalar
