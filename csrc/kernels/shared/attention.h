// Softmax attention of query rows of one stream over the ring of one KV head (kernels.h: attend).
//
// One pass over the positions in blocks of kKvBlock at absolute multiples of it. For each block and all rows at once:
// scores = q.k; weights = exp(score - largest so far); sums = sum(weight value). Then total and output are rescaled by
// exp(largest before - largest now) and take the block's sums in. A key or value is loaded and converted once for up to
// kLines query vectors; the block stays in the first-level cache for the others.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/shared/row_blocks.h"
#include "kernels/shared/vector_math.h"

namespace voxtral_edge::shared {

// Where one block lies.
template <class Element>
struct KvBlock {
  const Element* keys;
  const Element* values;
  const float* key_scales;
  const float* value_scales;
};

// Vectors of keys (or of one value) beside each other, so that M query vectors give sums enough to hide the latency of
// a multiply-add.
template <class V, std::size_t M>
inline constexpr std::size_t kBeside = V::kSums / M >= 4   ? 4
                                       : V::kSums / M >= 2 ? 2
                                                           : 1;

// One tile: query vectors ("lines", rows x queries) `begin` to `begin + lines` of the call, at most kAttentionLines.
template <class V, class Element>
struct AttentionTile {
  const KvHead& ring;
  const AttentionRows& in;
  std::size_t begin, lines;
  float* out;      // [lines][head_dim], of the tile
  float* scaled;   // [lines][head_dim]            queries times scale
  float* sums;     // [lines][head_dim]            weighted values of one block
  float* weights;  // [lines][kKvBlock]            scores, then weights, of one block
  float* totals;   // [lines][kLanes]              sums of weights
  float* largest;  // [kAttentionLines]            score so far
  float* found;    // [kAttentionLines]            largest score of the block
  float* factors;  // [kAttentionLines]            exp(largest before - largest now)

  static constexpr bool kScaled = sizeof(Element) == 1;
  static constexpr std::size_t kPerCacheLine = 64 / (kLanes * sizeof(Element));  // vectors of 16

  // Positions of a block, counted from its first.
  struct Span {
    std::size_t from, to;
  };

  std::size_t head_dim() const { return in.head_dim; }
  std::size_t scale_blocks() const { return (in.head_dim + kKvScaleColumns - 1) / kKvScaleColumns; }

  std::uint64_t oldest(std::size_t row) const {
    const std::uint64_t position = in.position + row, there = position - in.first + 1;
    return there < in.window ? in.first : position + 1 - in.window;
  }

  // What of the block `row` sees; it sees some of it.
  Span seen(std::size_t row, std::uint64_t block) const {
    const std::uint64_t from = oldest(row), to = in.position + row + 1;
    return {from > block ? static_cast<std::size_t>(from - block) : 0,
            to - block < kKvBlock ? static_cast<std::size_t>(to - block) : kKvBlock};
  }

  std::size_t row_of(std::size_t line) const { return (begin + line) / in.queries; }

  // The tile's lines of a row.
  std::size_t first_line(std::size_t row) const {
    const std::size_t line = row * in.queries;
    return line > begin ? line - begin : 0;
  }
  std::size_t end_line(std::size_t row) const {
    const std::size_t line = (row + 1) * in.queries - begin;
    return line < lines ? line : lines;
  }

  KvBlock<Element> place(std::uint64_t block) const {
    const std::size_t slot = static_cast<std::size_t>(block % ring.slots);
    const std::size_t scales = kScaled ? slot * scale_blocks() : 0;
    return {static_cast<const Element*>(ring.keys) + slot * head_dim(),
            static_cast<const Element*>(ring.values) + slot * head_dim(), ring.key_scales + scales,
            ring.value_scales + scales};
  }

  // Into the second-level cache: the first is full of what this block needs.
  VOXTRAL_EDGE_INLINE void prefetch_next_block(const Element* p) const {
    __builtin_prefetch(p + kKvBlock * head_dim(), 0, 2);
  }

  // Multiplies M lines with kPerCacheLine columns of the keys of 16 N positions.
  template <std::size_t M, std::size_t N, bool Ahead>
  VOXTRAL_EDGE_INLINE void add_columns(const Element* keys, std::size_t keys_stride, const V* scales, const float* q,
                                       V* dots) const {
    if constexpr (Ahead)
      for (std::size_t n = 0; n < N; n++) prefetch_next_block(keys + n * keys_stride);
    VOXTRAL_EDGE_UNROLL
    for (std::size_t c = 0; c < kPerCacheLine; c++) {
      V key[N];
      VOXTRAL_EDGE_UNROLL
      for (std::size_t n = 0; n < N; n++) {
        key[n] = load16<V>(keys + n * keys_stride + c * kLanes);
        if constexpr (kScaled) key[n] = key[n] * scales[n];
      }
      VOXTRAL_EDGE_UNROLL
      for (std::size_t m = 0; m < M; m++) {
        const V part = V::all(q[m * head_dim() + c]);
        VOXTRAL_EDGE_UNROLL
        for (std::size_t n = 0; n < N; n++) dots[m * N + n] = V::fma(part, key[n], dots[m * N + n]);
      }
    }
  }

  // Scores of M lines with the keys of 16 N positions. Ahead: the first lines to meet this block fetch the next one.
  template <std::size_t M, std::size_t N, bool Ahead>
  void score(const KvBlock<Element>& at, std::size_t group, std::size_t line) const {
    const std::size_t keys_stride = head_dim() * kLanes, scales_stride = scale_blocks() * kLanes;
    const Element* keys = at.keys + group * keys_stride;
    const float* q = scaled + line * head_dim();
    V dots[M * N];
    VOXTRAL_EDGE_UNROLL
    for (std::size_t m = 0; m < M; m++) VOXTRAL_EDGE_UNROLL
    for (std::size_t n = 0; n < N; n++) dots[m * N + n] = V::zero();
    const std::size_t run = kScaled ? kKvScaleColumns : head_dim();
    for (std::size_t begin = 0; begin < head_dim(); begin += run) {
      V scales[N];
      VOXTRAL_EDGE_UNROLL
      for (std::size_t n = 0; n < N; n++)
        if constexpr (kScaled)
          scales[n] = V::load(at.key_scales + (group + n) * scales_stride + begin / kKvScaleColumns * kLanes);
      const std::size_t end = begin + run < head_dim() ? begin + run : head_dim();
      for (std::size_t d = begin; d < end; d += kPerCacheLine)
        add_columns<M, N, Ahead>(keys + d * kLanes, keys_stride, scales, q + d, dots);
    }
    VOXTRAL_EDGE_UNROLL
    for (std::size_t m = 0; m < M; m++) VOXTRAL_EDGE_UNROLL
    for (std::size_t n = 0; n < N; n++) dots[m * N + n].store(weights + (line + m) * kKvBlock + (group + n) * kLanes);
  }

  template <std::size_t M, bool Ahead>
  void score_groups(const KvBlock<Element>& at, Span positions, std::size_t line) const {
    constexpr std::size_t kGroups = kBeside<V, M>;
    const std::size_t end = (positions.to + kLanes - 1) / kLanes;
    std::size_t group = positions.from / kLanes;
    for (; group + kGroups <= end; group += kGroups) score<M, kGroups, Ahead>(at, group, line);
    if constexpr (kGroups > 1)
      for (; group < end; group++) score<M, 1, Ahead>(at, group, line);
  }

  // Hides the scores of positions the line does not see, and finds the largest of the others.
  VOXTRAL_EDGE_INLINE void find_largest(std::size_t line, Span seen_positions) const {
    const float lowest = -__builtin_inff();
    float* row = weights + line * kKvBlock;
    for (std::size_t i = 0; i < seen_positions.from; i++) row[i] = lowest;
    for (std::size_t i = seen_positions.to; i < kKvBlock; i++) row[i] = lowest;
    V most = V::all(lowest);
    VOXTRAL_EDGE_UNROLL
    for (std::size_t i = 0; i < kKvBlock; i += kLanes) most = V::larger(V::load(row + i), most);
    found[line] = most.largest_lane();
  }

  // Scores of M lines and their largest.
  template <std::size_t M, bool Ahead>
  void score_lines(const KvBlock<Element>& at, std::uint64_t block, std::size_t line) const {
    const Span first = seen(row_of(line), block), last = seen(row_of(line + M - 1), block);
    score_groups<M, Ahead>(at, {first.from, last.to}, line);
    if (first.to == kKvBlock && last.from == 0) {
      for (std::size_t m = 0; m < M; m++) find_largest(line + m, {0, kKvBlock});
    } else {
      for (std::size_t m = 0; m < M; m++) find_largest(line + m, seen(row_of(line + m), block));
    }
  }

  // factors and largest of all lines; those that see nothing of the block have found -infinity and keep theirs.
  void update_largest() const {
    for (std::size_t i = 0; i < lines; i += kLanes) {
      const V before = V::load(largest + i), now = V::larger(V::load(found + i), before);
      exp16_of_negative(before - now).store(factors + i);
      now.store(largest + i);
    }
  }

  // Scores to weights, and their sum onto the total.
  VOXTRAL_EDGE_INLINE void weights_of_scores(std::size_t line) const {
    float* row = weights + line * kKvBlock;
    const V most = V::all(largest[line]);
    V sum = V::zero();
    VOXTRAL_EDGE_UNROLL
    for (std::size_t i = 0; i < kKvBlock; i += kLanes) {
      const V weight = exp16_of_negative(V::load(row + i) - most);
      weight.store(row + i);
      sum = sum + weight;
    }
    float* total = totals + line * kLanes;
    V::fma(V::load(total), V::all(factors[line]), sum).store(total);
  }

  // Where the weighted values of M lines begin and end.
  enum class Weigh {
    whole,  // the block at once: from zero onto the output
    part    // some of its positions: from `sums` to `sums`
  };

  // out[line ... line + M][d ... d + 16 C], or sums, += the weighted values of some positions of a block.
  template <std::size_t M, std::size_t C, Weigh How, bool Ahead>
  void weigh(const KvBlock<Element>& at, Span positions, std::size_t line, std::size_t d) const {
    V dots[M * C];
    const std::size_t stride = head_dim();
    float* to = (How == Weigh::whole ? out : sums) + line * stride + d;
    VOXTRAL_EDGE_UNROLL
    for (std::size_t m = 0; m < M; m++) VOXTRAL_EDGE_UNROLL
    for (std::size_t c = 0; c < C; c++)
      dots[m * C + c] = How == Weigh::whole ? V::zero() : V::load(to + m * stride + c * kLanes);
    const Element* values = at.values + positions.from * stride + d;
    const float* weight = weights + line * kKvBlock;
    for (std::size_t i = positions.from; i < positions.to; i++, values += stride) {
      if constexpr (Ahead)
        for (std::size_t c = 0; c < C; c += kPerCacheLine) prefetch_next_block(values + c * kLanes);
      V value[C];
      VOXTRAL_EDGE_UNROLL
      for (std::size_t c = 0; c < C; c++) {
        value[c] = load16<V>(values + c * kLanes);
        if constexpr (kScaled)
          value[c] = value[c] * V::all(at.value_scales[i * scale_blocks() + (d + c * kLanes) / kKvScaleColumns]);
      }
      VOXTRAL_EDGE_UNROLL
      for (std::size_t m = 0; m < M; m++) {
        const V factor = V::all(weight[m * kKvBlock + i]);
        VOXTRAL_EDGE_UNROLL
        for (std::size_t c = 0; c < C; c++) dots[m * C + c] = V::fma(factor, value[c], dots[m * C + c]);
      }
    }
    VOXTRAL_EDGE_UNROLL
    for (std::size_t m = 0; m < M; m++) {
      const V factor = How == Weigh::whole ? V::all(factors[line + m]) : V::zero();
      VOXTRAL_EDGE_UNROLL
      for (std::size_t c = 0; c < C; c++) {
        float* sum = to + m * stride + c * kLanes;
        (How == Weigh::whole ? V::fma(V::load(sum), factor, dots[m * C + c]) : dots[m * C + c]).store(sum);
      }
    }
  }

  template <std::size_t M, Weigh How, bool Ahead>
  void weigh_columns(const KvBlock<Element>& at, Span positions, std::size_t line) const {
    if (positions.from >= positions.to) return;
    constexpr std::size_t kChunks = kBeside<V, M>;
    std::size_t d = 0;
    for (; d + kChunks * kLanes <= head_dim(); d += kChunks * kLanes)
      weigh<M, kChunks, How, Ahead>(at, positions, line, d);
    if constexpr (kChunks > 1)
      for (; d < head_dim(); d += kLanes) weigh<M, 1, How, Ahead>(at, positions, line, d);
  }

  // M lines. Positions that all of them see are weighed together; those before and after by the lines that see them,
  // never with a weight of zero: a NaN there is none of the other lines' business.
  template <std::size_t M, bool Ahead>
  void weigh_lines(const KvBlock<Element>& at, std::uint64_t block, std::size_t line) const {
    for (std::size_t m = 0; m < M; m++) weights_of_scores(line + m);
    const Span first = seen(row_of(line), block), last = seen(row_of(line + M - 1), block);
    if (first.from == last.from && first.to == last.to) return weigh_columns<M, Weigh::whole, Ahead>(at, first, line);
    Span common{last.from, first.to};
    if (common.from >= common.to) common = {kKvBlock, kKvBlock};
    for (std::size_t i = line * head_dim(); i < (line + M) * head_dim(); i += kLanes) V::zero().store(sums + i);
    for (std::size_t m = 0; m < M; m++) {
      const Span own = seen(row_of(line + m), block);
      weigh_columns<1, Weigh::part, false>(at, {own.from, own.to < common.from ? own.to : common.from}, line + m);
    }
    weigh_columns<M, Weigh::part, Ahead>(at, common, line);
    for (std::size_t m = 0; m < M; m++)
      weigh_columns<1, Weigh::part, false>(at, {common.to, seen(row_of(line + m), block).to}, line + m);
    for (std::size_t m = line; m < line + M; m++) {
      const V factor = V::all(factors[m]);
      for (std::size_t i = m * head_dim(); i < (m + 1) * head_dim(); i += kLanes)
        V::fma(V::load(out + i), factor, V::load(sums + i)).store(out + i);
    }
  }

  void step(std::uint64_t block) const {
    std::size_t row = begin / in.queries, row_end = (begin + lines - 1) / in.queries + 1;
    while (in.position + row < block) row++;
    while (oldest(row_end - 1) >= block + kKvBlock) row_end--;
    const std::size_t from = first_line(row), to = end_line(row_end - 1);
    const KvBlock<Element> at = place(block);
    for (std::size_t i = 0; i < kAttentionLines; i++) found[i] = -__builtin_inff();
    for_row_blocks<V::kLines>(to - from, [&]<std::size_t M>(std::size_t line) {
      if (line == 0) score_lines<M, true>(at, block, from);
      else score_lines<M, false>(at, block, from + line);
    });
    update_largest();
    for_row_blocks<V::kLines>(to - from, [&]<std::size_t M>(std::size_t line) {
      if (line == 0) weigh_lines<M, true>(at, block, from);
      else weigh_lines<M, false>(at, block, from + line);
    });
  }

  void run() const {
    const V scale = V::all(in.scale);
    for (std::size_t i = 0; i < lines * head_dim(); i += kLanes)
      (V::load(in.q + begin * head_dim() + i) * scale).store(scaled + i);
    for (std::size_t i = 0; i < lines * head_dim(); i += kLanes) V::zero().store(out + i);
    for (std::size_t i = 0; i < lines * kLanes; i += kLanes) V::zero().store(totals + i);
    for (std::size_t i = 0; i < kAttentionLines; i++) largest[i] = -__builtin_inff();
    const std::uint64_t last = in.position + (begin + lines - 1) / in.queries;
    for (std::uint64_t block = oldest(begin / in.queries) / kKvBlock * kKvBlock; block <= last; block += kKvBlock)
      step(block);
    for (std::size_t line = 0; line < lines; line++) {
      const V inverse = V::all(1.0f / sum_lanes(V::load(totals + line * kLanes)));
      for (std::size_t i = line * head_dim(); i < (line + 1) * head_dim(); i += kLanes)
        (V::load(out + i) * inverse).store(out + i);
    }
  }
};

template <class V, class Element>
void attend_tiles(const KvHead& ring, const AttentionRows& rows, float* scratch, float* out) {
  const std::size_t total = rows.rows * rows.queries, tiles = (total + kAttentionLines - 1) / kAttentionLines;
  float* sums = scratch + kAttentionLines * rows.head_dim;
  float* weights = sums + kAttentionLines * rows.head_dim;
  float* totals = weights + kAttentionLines * kKvBlock;
  float* largest = totals + kAttentionLines * kLanes;
  for (std::size_t i = 0; i < tiles; i++) {
    const std::size_t begin = total * i / tiles, end = total * (i + 1) / tiles;
    AttentionTile<V, Element>{
        ring, rows,    begin,  end - begin, out + begin * rows.head_dim, scratch,
        sums, weights, totals, largest,     largest + kAttentionLines,   largest + 2 * kAttentionLines}
        .run();
  }
}

template <class V>
void attend(const KvHead& ring, const AttentionRows& rows, float* scratch, float* out) {
  switch (ring.type) {
    case KvType::f32:
      return attend_tiles<V, float>(ring, rows, scratch, out);
    case KvType::f16:
      return attend_tiles<V, std::uint16_t>(ring, rows, scratch, out);
    case KvType::i8:
      return attend_tiles<V, std::int8_t>(ring, rows, scratch, out);
  }
}

}  // namespace voxtral_edge::shared
