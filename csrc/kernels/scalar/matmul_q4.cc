#include <cmath>
#include <cstring>

#include "kernels/half.h"
#include "kernels/scalar/functions.h"

namespace voxtral_edge::scalar {
namespace {

constexpr std::size_t kBlockBytes = kGroupRows * kBlockColumns / 2;

// Sum over the block of nibble * activation, for 16 rows.
void block_dots(const std::uint8_t* block, const std::int8_t* x, std::int32_t* dots) {
  for (std::size_t r = 0; r < kGroupRows; r++) {
    std::int32_t dot = 0;
    for (std::size_t i = 0; i < 4; i++)
      for (std::size_t j = 0; j < 4; j++) {
        const std::uint8_t byte = block[i * 64 + r * 4 + j];
        dot += (byte & 15) * x[i * 8 + j] + (byte >> 4) * x[i * 8 + 4 + j];
      }
    dots[r] = dot;
  }
}

}  // namespace

void matmul_q4(const std::uint8_t* weights, const QuantizedRows& x, std::size_t rows, std::size_t group_begin,
               std::size_t group_end, const float* bias, float* y, std::size_t y_stride) {
  const std::size_t tiles = x.padded_columns / kTileColumns, blocks = 2 * tiles;
  for (std::size_t g = group_begin; g < group_end; g++)
    for (std::size_t m = 0; m < rows; m++) {
      float sums[kGroupRows] = {};
      for (std::size_t b = 0; b < blocks; b++) {
        const std::uint8_t* tile = weights + (g * tiles + b / 2) * kQ4TileBytes;
        std::int32_t dots[kGroupRows];
        block_dots(tile + b % 2 * kBlockBytes, x.values + m * x.padded_columns + b * kBlockColumns, dots);
        std::uint16_t scales[kGroupRows];
        std::memcpy(scales, tile + 2 * kBlockBytes + b % 2 * sizeof scales, sizeof scales);
        const std::int32_t correction = 8 * x.sums[m * blocks + b];
        for (std::size_t r = 0; r < kGroupRows; r++)
          sums[r] = std::fma(static_cast<float>(dots[r] - correction),
                             float_from_half(scales[r]) * x.scales[m * blocks + b], sums[r]);
      }
      for (std::size_t r = 0; r < kGroupRows; r++)
        y[m * y_stride + g * kGroupRows + r] = bias ? sums[r] + bias[g * kGroupRows + r] : sums[r];
    }
}

}  // namespace voxtral_edge::scalar
