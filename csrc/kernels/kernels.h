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

enum class KvType { f32, f16, i8 };

// Ring positions that attention takes together. A ring has a multiple of this many slots, so that no block of positions
// (p / 64 equal) is cut by its seam. 64 positions of 64 floats or 128 halves are 16 KiB: keys stay in the first cache
// for all rows that see them.
inline constexpr std::size_t kKvBlock = 64;
inline constexpr std::size_t kKvLanes = 16;         // slots whose keys are interleaved
inline constexpr std::size_t kKvScaleColumns = 32;  // i8: numbers of one position that share a scale

// The ring of one KV head. Position p lives in slot p mod slots; head_dim is padded to a multiple of 16 (padding zero).
// Keys of 16 slots are interleaved so that a vector holds one column of 16 positions: scores need no sums across lanes.
// i8: number = value * scale; blocks = head_dim / 32, rounded up.
struct KvHead {
  const void* keys;           // [slots / 16][head_dim][16]
  const void* values;         // [slots][head_dim]
  const float* key_scales;    // i8 only: [slots / 16][blocks][16]
  const float* value_scales;  // i8 only: [slots][blocks]
  std::size_t slots;          // a multiple of kKvBlock
  KvType type;
};

// Query rows of one stream at consecutive positions: row r is at position + r and sees
// max(first, position + r - window + 1) .. position + r, all of which the ring holds.
struct AttentionRows {
  const float* q;  // [rows][queries][head_dim]; the queries share the KV head
  std::size_t rows, queries, head_dim;
  std::uint64_t position, first;
  std::size_t window;
  float scale;  // of the scores
};

// Query vectors (rows x queries) that attend() takes over the keys at once, and the scratch it needs for them, in
// floats.
inline constexpr std::size_t kAttentionLines = 32;
inline constexpr std::size_t attention_scratch_floats(std::size_t head_dim) {
  return kAttentionLines * (2 * head_dim + kKvBlock + kKvLanes + 3);
}

// Softmax statistics of one run of logits, merged by the caller.
struct LogitStats {
  float max;             // largest logit
  float sum_exp;         // sum of exp(logit - max)
  std::uint32_t argmax;  // lowest index with that value
};

struct Kernels {
  const char* name;  // "scalar", "avx2", "avx512vnni", "neon_dotprod", "neon_i8mm", ...
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

  // Softmax attention (spec 4, 5) of rows over one KV head; out [rows][queries][head_dim].
  // One pass over the positions, in blocks at multiples of kKvBlock (so the order of every sum follows from positions
  // alone): scores, weights relative to the largest score so far, weighted values; what was summed before is rescaled
  // when a larger score appears. A row's result depends on no other row, slot outside its window, or wrap.
  // scratch: attention_scratch_floats(head_dim).
  void (*attend)(const KvHead& ring, const AttentionRows& rows, float* scratch, float* out);

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
