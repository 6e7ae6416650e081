// The q4 and q8 products, written once; what a block does comes from the format.
#pragma once

#include <cmath>
#include <cstring>

#include "kernels/half.h"
#include "kernels/kernels.h"

namespace voxtral_edge::scalar {

// Format: kBlockBytes, kTileBytes, kZeroPoint, and block_dots(block, x, dots): sums over a block's columns of stored
// value * activation, for 16 weight rows.
template <class Format>
void block_matmul(const std::uint8_t* weights, const QuantizedRows& x, std::size_t rows, std::size_t group_begin,
                  std::size_t group_end, const float* bias, float* y, std::size_t y_stride) {
  const std::size_t tiles = x.padded_columns / kTileColumns, blocks = 2 * tiles;
  for (std::size_t g = group_begin; g < group_end; g++)
    for (std::size_t m = 0; m < rows; m++) {
      float sums[kGroupRows] = {};
      for (std::size_t b = 0; b < blocks; b++) {
        const std::uint8_t* tile = weights + (g * tiles + b / 2) * Format::kTileBytes;
        std::int32_t dots[kGroupRows];
        Format::block_dots(tile + b % 2 * Format::kBlockBytes, x.values + m * x.padded_columns + b * kBlockColumns,
                           dots);
        std::uint16_t scales[kGroupRows];
        std::memcpy(scales, tile + 2 * Format::kBlockBytes + b % 2 * sizeof scales, sizeof scales);
        const std::int32_t correction = Format::kZeroPoint * x.sums[m * blocks + b];
        for (std::size_t r = 0; r < kGroupRows; r++)
          sums[r] = std::fma(static_cast<float>(dots[r] - correction),
                             float_from_half(scales[r]) * x.scales[m * blocks + b], sums[r]);
      }
      for (std::size_t r = 0; r < kGroupRows; r++)
        y[m * y_stride + g * kGroupRows + r] = bias ? sums[r] + bias[g * kGroupRows + r] : sums[r];
    }
}

}  // namespace voxtral_edge::scalar
