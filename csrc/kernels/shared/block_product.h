// The q4 and q8 products, written once: how tiles, row blocks and activation rows are walked. An instruction set adds
// what one block of 16 weight rows x 32 columns does, as a `Product` (internal to its file, so that no instantiation of
// these templates can be picked by the linker for another instruction set):
//
//   Vector, kVectors              a vector of float sums; how many hold 16 weight rows
//   zero()                        Vector
//   Activations                   shared::Activations of an owner in the folder
//   kTileBytes                    kQ4TileBytes or kQ8TileBytes
//   kMostRows                     activation rows that share one reading of a block
//   kPrefetchAhead                bytes
//   add_block<M>(block, scales, x, b, sums)   sums [M][kVectors] += block b's products with M rows of x
//   store(sum, bias, y)           y = sum (+ bias), for one vector; bias may be null
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/shared/compiler.h"
#include "kernels/shared/row_blocks.h"

namespace voxtral_edge::shared {

// Quantised activations from row `first` on. Owner: a type of the instruction set, which keeps its copies apart.
template <class Owner>
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
  std::int32_t sum(std::size_t m, std::size_t b) const { return sums[m * blocks + b]; }
  float scale(std::size_t m, std::size_t b) const { return scales[m * blocks + b]; }
};

template <class Product>
VOXTRAL_EDGE_INLINE inline void prefetch_tile(const std::uint8_t* tile) {
  for (std::size_t i = 0; i < Product::kTileBytes; i += 64)
    __builtin_prefetch(tile + Product::kPrefetchAhead + i, 0, 3);
}

// One group of 16 weight rows times M activation rows. Only the first row block prefetches: the others find the tiles
// in the cache.
template <class Product, std::size_t M>
void group_product(const std::uint8_t* tile, std::size_t tiles, const typename Product::Activations& x, bool prefetch,
                   const float* bias, float* y, std::size_t y_stride) {
  constexpr std::size_t kScaleBytes = kGroupRows * sizeof(std::uint16_t);
  constexpr std::size_t kBlockBytes = Product::kTileBytes / 2 - kScaleBytes;
  constexpr std::size_t kVectors = Product::kVectors, kVectorRows = kGroupRows / kVectors;
  typename Product::Vector sums[M * kVectors];
  VOXTRAL_EDGE_UNROLL
  for (std::size_t j = 0; j < M * kVectors; j++) sums[j] = Product::zero();
  for (std::size_t t = 0; t < tiles; t++, tile += Product::kTileBytes) {
    if (prefetch) prefetch_tile<Product>(tile);
    const std::uint8_t* scales = tile + 2 * kBlockBytes;
    Product::template add_block<M>(tile, scales, x, 2 * t, sums);
    Product::template add_block<M>(tile + kBlockBytes, scales + kScaleBytes, x, 2 * t + 1, sums);
  }
  for (std::size_t m = 0; m < M; m++)
    for (std::size_t v = 0; v < kVectors; v++)
      Product::store(sums[m * kVectors + v], bias ? bias + v * kVectorRows : nullptr,
                     y + m * y_stride + v * kVectorRows);
}

template <class Product>
void block_matmul(const std::uint8_t* weights, const QuantizedRows& x, std::size_t rows, std::size_t group_begin,
                  std::size_t group_end, const float* bias, float* y, std::size_t y_stride) {
  const std::size_t tiles = x.padded_columns / kTileColumns;
  for (std::size_t g = group_begin; g < group_end; g++)
    for_row_blocks<Product::kMostRows>(rows, [&]<std::size_t M>(std::size_t first) {
      group_product<Product, M>(
          weights + g * tiles * Product::kTileBytes, tiles, typename Product::Activations(x, first), first == 0,
          bias ? bias + g * kGroupRows : nullptr, y + first * y_stride + g * kGroupRows, y_stride);
    });
}

}  // namespace voxtral_edge::shared

// Defines `name` (matmul_q4, matmul_q8) of the surrounding namespace as the product of type Product.
#define VOXTRAL_EDGE_BLOCK_MATMUL(name, Product)                                                            \
  void name(const std::uint8_t* weights, const QuantizedRows& x, std::size_t rows, std::size_t group_begin, \
            std::size_t group_end, const float* bias, float* y, std::size_t y_stride) {                     \
    shared::block_matmul<Product>(weights, x, rows, group_begin, group_end, bias, y, y_stride);             \
  }
