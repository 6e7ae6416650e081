// Quantising rows of activations, written once: how rows and blocks are walked. What a block does comes from the
// instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace voxtral_edge::shared {

// block(x, values, scale, sum) quantises 32 floats. The last block of a row, where columns end inside it, and those
// behind it are blocks of a copy that ends in zeros: nothing beyond the columns is read. Block: a lambda of the
// instruction set's file, so that every instantiation has its own symbol.
template <class Block>
void quantize_rows(const float* x, std::size_t rows, std::size_t columns, std::size_t x_stride,
                   const QuantizedRows& out, Block block) {
  const std::size_t blocks = out.padded_columns / kBlockColumns, whole = columns / kBlockColumns;
  for (std::size_t m = 0; m < rows; m++) {
    const float* row = x + m * x_stride;
    std::int8_t* values = out.values + m * out.padded_columns;
    float* scales = out.scales + m * blocks;
    std::int32_t* sums = out.sums + m * blocks;
    for (std::size_t b = 0; b < whole; b++)
      block(row + b * kBlockColumns, values + b * kBlockColumns, scales + b, sums + b);
    for (std::size_t b = whole; b < blocks; b++) {
      float padded[kBlockColumns] = {};
      for (std::size_t k = b * kBlockColumns; k < columns; k++) padded[k - b * kBlockColumns] = row[k];
      block(padded, values + b * kBlockColumns, scales + b, sums + b);
    }
  }
}

}  // namespace voxtral_edge::shared
