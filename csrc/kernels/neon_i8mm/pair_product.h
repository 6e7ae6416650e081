// The q4 and q8 products on 8-bit matrix products. One instruction multiplies 2 weight rows x 8 columns with 8 columns
// x 2 activation rows: twice the products of a dot product, if rows of 8 columns lie side by side. The packed layout
// has 4 columns of 16 weight rows side by side, so two lines of it are interleaved by 32-bit lanes (2 zips per 32
// bytes); as the order of columns within a sum of integers is free, q4 zips before it takes the nibbles apart.
// Activation rows are put together in pairs, once per chunk of columns for all groups of the call. Weight rows come in
// quads (a fourth of a group): its 32 columns of a block stay in eight registers while the pairs pass by, so that
// unpacking is shared by up to 16 activation rows.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/neon_dotprod/block_sums.h"
#include "kernels/shared/compiler.h"
#include "kernels/shared/row_blocks.h"

namespace voxtral_edge::neon_i8mm {
namespace {

constexpr std::size_t kChunkTiles = 8;  // 4.6 or 8.7 KB of a group: in the first cache for all quads and pairs
constexpr std::size_t kChunkBlocks = 2 * kChunkTiles;
constexpr std::size_t kMostPairs = 8;     // of 32 registers 16 sums, 8 weights, 2 scales, the constant of block_sums.h
constexpr std::size_t kPackedPairs = 16;  // 24 KB of activations at a time
constexpr std::size_t kQuads = 4, kQuadRows = 4;
constexpr std::size_t kScaleBytes = kGroupRows * sizeof(std::uint16_t);

// A block of 32 columns of two activation rows a, b.
struct PairBlock {
  int8x16_t values[4];  // 16 columns in two: columns 0-3, 8-11 of a and b; 4-7, 12-15 of a and b; then the next 16
  int32x4_t start;      // where the sums begin, {a, b, a, b}: kSumBegin minus the zero point's share
  float32x4_t scale;    // {a, b, a, b}
};

inline int8x16_t lanes_of(int32x4_t x) { return vreinterpretq_s8_s32(x); }

// Blocks [first, first + count) of rows a and b; count is even.
template <std::int32_t kZeroPoint>
inline void pack_pair(const QuantizedRows& x, std::size_t a, std::size_t b, std::size_t first, std::size_t count,
                      PairBlock* out) {
  const std::size_t blocks = x.padded_columns / kBlockColumns;
  const std::int8_t* values_a = x.values + a * x.padded_columns + first * kBlockColumns;
  const std::int8_t* values_b = x.values + b * x.padded_columns + first * kBlockColumns;
  const std::size_t at_a = a * blocks + first, at_b = b * blocks + first;
  for (std::size_t i = 0; i < count; i += 2) {
    for (std::size_t half = 0; half < 4; half++) {
      const int32x4_t from_a = vreinterpretq_s32_s8(vld1q_s8(values_a + i * kBlockColumns + 16 * half));
      const int32x4_t from_b = vreinterpretq_s32_s8(vld1q_s8(values_b + i * kBlockColumns + 16 * half));
      int8x16_t* to = out[(i + half / 2) * kPackedPairs].values + 2 * (half % 2);
      to[0] = lanes_of(vuzp1q_s32(from_a, from_b));
      to[1] = lanes_of(vuzp2q_s32(from_a, from_b));
    }
    const float32x2_t scale_a = vld1_f32(x.scales + at_a + i), scale_b = vld1_f32(x.scales + at_b + i);
    const float32x2_t scale0 = vzip1_f32(scale_a, scale_b), scale1 = vzip2_f32(scale_a, scale_b);
    out[i * kPackedPairs].scale = vcombine_f32(scale0, scale0);
    out[(i + 1) * kPackedPairs].scale = vcombine_f32(scale1, scale1);
    const int32x2_t sum_a = vld1_s32(x.sums + at_a + i), sum_b = vld1_s32(x.sums + at_b + i);
    const int32x2_t begin = vdup_n_s32(neon_dotprod::kSumBegin), zero_point = vdup_n_s32(kZeroPoint);
    const int32x2_t start0 = vmls_s32(begin, vzip1_s32(sum_a, sum_b), zero_point);
    const int32x2_t start1 = vmls_s32(begin, vzip2_s32(sum_a, sum_b), zero_point);
    out[i * kPackedPairs].start = vcombine_s32(start0, start0);
    out[(i + 1) * kPackedPairs].start = vcombine_s32(start1, start1);
  }
}

// 32-bit lanes of two lines of the packed layout: four columns of a weight row from each, rows 0, 1 and rows 2, 3.
inline void zip_lines(uint8x16_t x, uint8x16_t y, uint8x16_t* out) {
  const uint32x4_t p = vreinterpretq_u32_u8(x), q = vreinterpretq_u32_u8(y);
  out[0] = vreinterpretq_u8_u32(vzip1q_u32(p, q));
  out[1] = vreinterpretq_u8_u32(vzip2q_u32(p, q));
}

// sums [P][2] += one block of a quad of weight rows with P pairs. A sum holds 2 weight rows x 2 activation rows, as the
// instruction gives them.
template <class Product, std::size_t P>
VOXTRAL_EDGE_INLINE inline void add_block(const std::uint8_t* block, const std::uint8_t* scales, const PairBlock* pairs,
                                          float32x4_t* sums) {
  uint8x16_t w[8];  // in twos: weight rows 0, 1 and 2, 3 with the columns of PairBlock::values
  Product::unpack(block, w);
  const float32x4_t weight_scale = vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(scales)));
  const float32x4_t scale0 = vzip1q_f32(weight_scale, weight_scale), scale1 = vzip2q_f32(weight_scale, weight_scale);
  VOXTRAL_EDGE_UNROLL
  for (std::size_t p = 0; p < P; p++) {
    const PairBlock& x = pairs[p];
    int32x4_t dots0 = x.start, dots1;
    __asm__("ldr %q0, %1" : "=w"(dots1) : "m"(x.start));  // a copy between registers would take a vector pipe
    VOXTRAL_EDGE_UNROLL
    for (std::size_t i = 0; i < 4; i++) {
      dots0 = vusmmlaq_s32(dots0, w[2 * i], x.values[i]);
      dots1 = vusmmlaq_s32(dots1, w[2 * i + 1], x.values[i]);
    }
    const float32x4_t float0 = neon_dotprod::float_of_sums(dots0), float1 = neon_dotprod::float_of_sums(dots1);
    sums[2 * p] = vfmaq_f32(sums[2 * p], float0, vmulq_f32(scale0, x.scale));
    sums[2 * p + 1] = vfmaq_f32(sums[2 * p + 1], float1, vmulq_f32(scale1, x.scale));
  }
  // Weights whose lives end one after the other in the last pair make GCC move registers (a twentieth more cycles).
  __asm__ volatile("" : : "w"(w[0]), "w"(w[1]), "w"(w[2]), "w"(w[3]), "w"(w[4]), "w"(w[5]), "w"(w[6]), "w"(w[7]));
}

// sums [P][2] += `tiles` tiles from `tile` on. ahead: distance of what is prefetched meanwhile, 0 for nothing.
template <class Product, std::size_t P>
VOXTRAL_EDGE_INLINE inline void add_tiles(const std::uint8_t* tile, std::size_t tiles, std::size_t quad,
                                          std::ptrdiff_t ahead, const PairBlock* pairs, float32x4_t* sums) {
  constexpr std::size_t kBlockBytes = Product::kTileBytes / 2 - kScaleBytes;
  float32x4_t in_registers[2 * P];
  VOXTRAL_EDGE_UNROLL
  for (std::size_t j = 0; j < 2 * P; j++) in_registers[j] = sums[j];
  for (std::size_t t = 0; t < tiles; t++, tile += Product::kTileBytes, pairs += 2 * kPackedPairs) {
    if (ahead != 0)
      for (std::size_t i = 0; i < Product::kTileBytes; i += 64) __builtin_prefetch(tile + ahead + i, 0, 3);
    const std::uint8_t *block = tile + 16 * quad, *scales = tile + 2 * kBlockBytes + 8 * quad;
    add_block<Product, P>(block, scales, pairs, in_registers);
    add_block<Product, P>(block + kBlockBytes, scales + kScaleBytes, pairs + kPackedPairs, in_registers);
  }
  VOXTRAL_EDGE_UNROLL
  for (std::size_t j = 0; j < 2 * P; j++) sums[j] = in_registers[j];
}

// Where the results of a group and of the rows of the packed pairs go.
struct Outputs {
  const float* bias;  // of the group, or null
  float* y;           // of the group
  std::size_t stride, rows;

  // A last row without a partner is paired with itself: both then write the same.
  float* row(std::size_t i) const { return y + (i < rows ? i : rows - 1) * stride; }
};

// A quad of a group times P pairs over one chunk of columns. Between chunks the sums lie in y.
template <class Product, std::size_t P>
void quad_product(const std::uint8_t* tile, std::size_t tiles, std::size_t quad, std::ptrdiff_t ahead,
                  const PairBlock* pairs, std::size_t first_pair, bool begins, bool ends, const Outputs& out) {
  float32x4_t sums[2 * P];
  for (std::size_t p = 0; p < P; p++) {
    const std::size_t row = 2 * (first_pair + p), column = kQuadRows * quad;
    const float32x4_t zero = vdupq_n_f32(0.0f);
    const float32x4_t a = begins ? zero : vld1q_f32(out.row(row) + column);
    const float32x4_t b = begins ? zero : vld1q_f32(out.row(row + 1) + column);
    sums[2 * p] = vzip1q_f32(a, b);
    sums[2 * p + 1] = vzip2q_f32(a, b);
  }
  add_tiles<Product, P>(tile, tiles, quad, ahead, pairs + first_pair, sums);
  for (std::size_t p = 0; p < P; p++) {
    const std::size_t row = 2 * (first_pair + p), column = kQuadRows * quad;
    float32x4_t a = vuzp1q_f32(sums[2 * p], sums[2 * p + 1]), b = vuzp2q_f32(sums[2 * p], sums[2 * p + 1]);
    if (ends && out.bias != nullptr) {
      const float32x4_t bias = vld1q_f32(out.bias + column);
      a = vaddq_f32(a, bias);
      b = vaddq_f32(b, bias);
    }
    vst1q_f32(out.row(row) + column, a);
    vst1q_f32(out.row(row + 1) + column, b);
  }
}

// The product of two or more activation rows (kernels.h). A chunk of columns of all groups at a time: so its pairs are
// packed once, and a group's chunk stays in the first cache for all its quads and pairs.
template <class Product>
void pair_matmul(const std::uint8_t* weights, const QuantizedRows& x, std::size_t rows, std::size_t group_begin,
                 std::size_t group_end, const float* bias, float* y, std::size_t y_stride) {
  const std::size_t tiles = x.padded_columns / kTileColumns;
  const std::size_t group_bytes = tiles * Product::kTileBytes;
  alignas(64) PairBlock pairs[kChunkBlocks * kPackedPairs];
  for (std::size_t tile = 0; tile < tiles; tile += kChunkTiles) {
    const std::size_t count = tiles - tile < kChunkTiles ? tiles - tile : kChunkTiles;
    for (std::size_t row = 0; row < rows; row += 2 * kPackedPairs) {
      const std::size_t here = rows - row < 2 * kPackedPairs ? rows - row : 2 * kPackedPairs;
      for (std::size_t m = 0; m < here; m += 2)
        pack_pair<Product::kZeroPoint>(x, row + m, row + (m + 1 < here ? m + 1 : m), 2 * tile, 2 * count,
                                       pairs + m / 2);
      for (std::size_t g = group_begin; g < group_end; g++) {
        const std::uint8_t* group = weights + g * group_bytes;
        // The same chunk of the next group, or the next chunk of the first one.
        const std::uint8_t* next = g + 1 < group_end
                                       ? group + group_bytes
                                       : weights + group_begin * group_bytes + kChunkTiles * Product::kTileBytes;
        const Outputs out{bias ? bias + g * kGroupRows : nullptr, y + row * y_stride + g * kGroupRows, y_stride, here};
        shared::for_row_blocks<kMostPairs>((here + 1) / 2, [&]<std::size_t P>(std::size_t first_pair) {
          for (std::size_t quad = 0; quad < kQuads; quad++)
            quad_product<Product, P>(group + tile * Product::kTileBytes, count, quad,
                                     row == 0 && first_pair == 0 && quad == 0 ? next - group : 0, pairs, first_pair,
                                     tile == 0, tile + count == tiles, out);
        });
      }
    }
  }
}

}  // namespace
}  // namespace voxtral_edge::neon_i8mm

// Defines `name` (matmul_q4, matmul_q8) of the surrounding namespace as the product of type Product. A single row stays
// with the dot products: half of every matrix product would be for nothing (52 to 60 cycles per tile instead of 45 on a
// Neoverse V2 by llvm-mca; with two rows 53 to 61 instead of 69).
#define VOXTRAL_EDGE_PAIR_MATMUL(name, Product)                                                             \
  void name(const std::uint8_t* weights, const QuantizedRows& x, std::size_t rows, std::size_t group_begin, \
            std::size_t group_end, const float* bias, float* y, std::size_t y_stride) {                     \
    if (rows == 1) return neon_dotprod::name(weights, x, rows, group_begin, group_end, bias, y, y_stride);  \
    pair_matmul<Product>(weights, x, rows, group_begin, group_end, bias, y, y_stride);                      \
  }
