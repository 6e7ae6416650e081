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
//   pass_vectors(M)               how many of the kVectors are worked off at a time with M activation rows
//   add_block<M>(block, scales, x, b, pass, sums)   sums [M][pass_vectors(M)] += block b's products with M rows of x,
//                                 for weight rows [pass, pass + 1) * 16 * pass_vectors(M) / kVectors of the group
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

// sums [M][pass vectors] += `count` tiles from `tile` on, for the weight rows of one pass.
template <class Product, std::size_t M>
VOXTRAL_EDGE_INLINE inline void add_tiles(const std::uint8_t* tile, std::size_t first, std::size_t count,
                                          const typename Product::Activations& x, bool prefetch, std::size_t pass,
                                          typename Product::Vector* sums) {
  constexpr std::size_t kScaleBytes = kGroupRows * sizeof(std::uint16_t);
  constexpr std::size_t kBlockBytes = Product::kTileBytes / 2 - kScaleBytes;
  constexpr std::size_t kSums = M * Product::pass_vectors(M);
  typename Product::Vector in_registers[kSums];
  VOXTRAL_EDGE_UNROLL
  for (std::size_t j = 0; j < kSums; j++) in_registers[j] = sums[j];
  for (std::size_t t = first; t < first + count; t++) {
    const std::uint8_t* at = tile + t * Product::kTileBytes;
    if (prefetch) prefetch_tile<Product>(at);
    const std::uint8_t* scales = at + 2 * kBlockBytes;
    Product::template add_block<M>(at, scales, x, 2 * t, pass, in_registers);
    Product::template add_block<M>(at + kBlockBytes, scales + kScaleBytes, x, 2 * t + 1, pass, in_registers);
  }
  VOXTRAL_EDGE_UNROLL
  for (std::size_t j = 0; j < kSums; j++) sums[j] = in_registers[j];
}

// One group of 16 weight rows times M activation rows. Only the first row block prefetches: the others find the tiles
// in the cache. Where the sums of all weight rows would not fit the registers, they are worked off in several passes
// over a few tiles at a time, which stay in the first cache. Not inlined: next to another product's loops GCC 12 has
// made one row of it four times slower.
template <class Product, std::size_t M>
[[gnu::noinline]] void group_product(const std::uint8_t* group, std::size_t tiles,
                                     const typename Product::Activations& x, bool prefetch, const float* bias, float* y,
                                     std::size_t y_stride) {
  constexpr std::size_t kVectors = Product::kVectors, kVectorRows = kGroupRows / kVectors;
  constexpr std::size_t kPassVectors = Product::pass_vectors(M), kPasses = kVectors / kPassVectors;
  constexpr std::size_t kPassTiles = 8;  // 4.6 or 8.7 KB; loading and storing the sums costs a twentieth of them
  typename Product::Vector sums[kPasses][M * kPassVectors];
  for (std::size_t pass = 0; pass < kPasses; pass++)
    for (std::size_t j = 0; j < M * kPassVectors; j++) sums[pass][j] = Product::zero();
  if constexpr (kPasses == 1) {
    add_tiles<Product, M>(group, 0, tiles, x, prefetch, 0, sums[0]);
  } else {
    for (std::size_t first = 0; first < tiles; first += kPassTiles)
      for (std::size_t pass = 0; pass < kPasses; pass++)
        add_tiles<Product, M>(group, first, tiles - first < kPassTiles ? tiles - first : kPassTiles, x,
                              prefetch && pass == 0, pass, sums[pass]);
  }
  for (std::size_t m = 0; m < M; m++)
    for (std::size_t v = 0; v < kVectors; v++)
      Product::store(sums[v / kPassVectors][m * kPassVectors + v % kPassVectors],
                     bias ? bias + v * kVectorRows : nullptr, y + m * y_stride + v * kVectorRows);
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
