// The table of compute kernels. One implementation per instruction set, chosen at first use (registry.h).
//
// Invariants every implementation keeps (they make streaming == offline, bit for bit):
//   * the result for one activation row does not depend on the number of rows in the call, on the
//     range of row groups, or on where the KV ring wraps;
//   * q4/q8 products are bit-identical on every instruction set: int32 block sums, then
//     acc = fma(float(sum), weight_scale * activation_scale, acc) in ascending block order.
//   * the float kernels of all vector instruction sets agree bit for bit (shared/), scalar to rounding.
// Packed weight layouts are described in packed_matrix.h. Packed q4/q8 weights and the values of QuantizedRows are
// 64-byte aligned; nothing else needs alignment beyond its type's.
#pragma once

#include <cstddef>
#include <cstdint>

namespace voxtral_edge {

inline constexpr std::size_t kGroupRows = 16;     // weight rows interleaved in one group
inline constexpr std::size_t kBlockColumns = 32;  // columns that share one scale
inline constexpr std::size_t kTileColumns = 64;   // two blocks: 576 B (q4) or 1088 B (q8), whole cache lines
inline constexpr std::size_t kQ4TileBytes = 576;
inline constexpr std::size_t kQ8TileBytes = 1088;

// Activations quantised for q4/q8 products: symmetric int8 per block of 32 columns.
// padded_columns is a multiple of kTileColumns; padding columns are zero with scale 0.
struct QuantizedRows {
  std::int8_t* values;  // [rows][padded_columns]
  float* scales;        // [rows][padded_columns / 32]   absmax / 127
  std::int32_t* sums;   // [rows][padded_columns / 32]   sum of the block's values
  std::size_t padded_columns;
};

// A contiguous run of KV ring slots, oldest position first. Layout [slots][head_dim_padded].
struct KvSegment {
  const void* keys;
  const void* values;
  std::size_t count;
};

enum class KvType { f32, f16 };

// Softmax statistics of one run of logits, merged by the caller.
struct LogitStats {
  float max;             // largest logit
  float sum_exp;         // sum of exp(logit - max)
  std::uint32_t argmax;  // lowest index with that value
};

struct Kernels {
  const char* name;  // "scalar", "avx2", "avx512vnni", "neon_dotprod", ...
  const char* description;

  // x [rows][x_stride] float, `columns` used -> out (rows of out, padding cleared). value = round to nearest even of
  // x * (127 / absmax). A block with absmax < 2^-100 is zero; one that holds a NaN or infinity gets values 0 and a
  // scale that is not finite, so that its products are visibly wrong instead of plausible.
  void (*quantize_rows)(const float* x, std::size_t rows, std::size_t columns, std::size_t x_stride,
                        const QuantizedRows& out);

  // y[m][16 g + r] = (bias ? bias[16 g + r] : 0) + sum_k w[16 g + r][k] x[m][k]  for g in [group_begin, group_end).
  // `weights` points at group 0. y has rows of y_stride floats (>= 16 * groups); bias is padded to 16 * groups.
  // The bias is added last, with one rounding: y = acc + bias.
  void (*matmul_q4)(const std::uint8_t* weights, const QuantizedRows& x, std::size_t rows, std::size_t group_begin,
                    std::size_t group_end, const float* bias, float* y, std::size_t y_stride);
  void (*matmul_q8)(const std::uint8_t* weights, const QuantizedRows& x, std::size_t rows, std::size_t group_begin,
                    std::size_t group_end, const float* bias, float* y, std::size_t y_stride);
  // Float weights, layout per group [columns][16]; x [rows][x_stride].
  void (*matmul_f16)(const std::uint16_t* weights, std::size_t columns, const float* x, std::size_t rows,
                     std::size_t x_stride, std::size_t group_begin, std::size_t group_end, const float* bias, float* y,
                     std::size_t y_stride);
  void (*matmul_f32)(const float* weights, std::size_t columns, const float* x, std::size_t rows, std::size_t x_stride,
                     std::size_t group_begin, std::size_t group_end, const float* bias, float* y, std::size_t y_stride);

  // y = x / sqrt(mean(x^2) + eps) * weight, and where scale_minus_one is given, * (1 + scale_minus_one) (spec 5).
  // Any count; no padding is read or written.
  void (*rms_norm)(const float* x, const float* weight, const float* scale_minus_one, float eps, std::size_t count,
                   float* y);
  // y = silu(gate) * up, silu(v) = v / (1 + exp(-v)).
  void (*silu_multiply)(const float* gate, const float* up, std::size_t count, float* y);
  // x = gelu(x) = x/2 (1 + erf(x / sqrt 2)), exact form.
  void (*gelu)(float* x, std::size_t count);
  // x += y.
  void (*add)(float* x, const float* y, std::size_t count);

  // Softmax attention of `queries` query heads that share one KV head, for one position (spec 4, 5).
  // q and out: [queries][head_dim]; head_dim is padded to a multiple of 16 (padding zero).
  // All scores, then fp32 softmax, then values in position order counted from the oldest: independent of the
  // segmentation. No positions at all give zeros.
  // scratch: queries * (sum of counts rounded up to 16) floats.
  void (*attend)(const float* q, std::size_t queries, std::size_t head_dim, const KvSegment* segments,
                 std::size_t segment_count, KvType type, float scale, float* scratch, float* out);

  // IEEE binary16 conversions, round to nearest even.
  void (*to_f16)(const float* x, std::size_t count, std::uint16_t* y);
  void (*from_f16)(const std::uint16_t* x, std::size_t count, float* y);

  // count >= 1. A NaN is never the largest, but makes sum_exp NaN.
  LogitStats (*logit_stats)(const float* logits, std::size_t count);

  // Does int8 multiply-adds on registers, as fast as the instructions of the q4/q8 products go; returns their number,
  // which is proportional to `repeats` (integer_peak.h).
  std::uint64_t (*integer_work)(std::size_t repeats);
};

}  // namespace voxtral_edge
