// Softmax attention of the query heads that share one KV head, over a ring given as segments.
//
// Three passes over positions counted from the oldest (never from the ring slot, so wrapping cannot change a bit):
// scores = scale q.k; weights = exp(score - max); out = sum(weight value) / sum(weight).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/shared/vector_math.h"

namespace voxtral_edge::shared {

// Values of this many positions are summed on their own before joining the total: a window of 8192 then loses as
// little as 32 additions do. Also keeps a block's values in cache for all queries.
inline constexpr std::size_t kPositionBlock = 256;

// A window of one head is a few megabytes read front to back, like weights: 8 KiB ahead hides the memory latency.
inline constexpr std::size_t kRingPrefetchBytes = 8192;

template <class V, class Element>
struct Attention {
  const float* q;
  std::size_t queries, head_dim;
  const KvSegment* segments;
  std::size_t segment_count;
  float scale;
  float* scores;  // [queries][stride]
  std::size_t total, stride;
  float* out;

  // A place in the ring.
  struct Cursor {
    std::size_t segment = 0, offset = 0;
  };

  // Calls f(segment, offset, count) for the runs that hold the next `count` positions, and moves on.
  template <class F>
  VOXTRAL_EDGE_INLINE void for_runs(Cursor& cursor, std::size_t count, F f) const {
    while (count > 0) {
      const KvSegment& segment = segments[cursor.segment];
      const std::size_t left = segment.count - cursor.offset, run = left < count ? left : count;
      if (run > 0) f(segment, cursor.offset, run);
      count -= run;
      cursor.offset += run;
      if (cursor.offset == segment.count) cursor = {cursor.segment + 1, 0};
    }
  }

  // Scores of `count` positions, the first of which has logical index `position`, for Q queries from `query` on.
  // 16 / Q keys at a time: their 16 sums leave the lanes of 16 accumulators in one shared reduction.
  template <std::size_t Q>
  void score_run(const Element* keys, std::size_t count, std::size_t position, std::size_t query) const {
    constexpr std::size_t kKeys = kLanes / Q;
    constexpr std::size_t kFit = V::kDots / Q > 0 ? V::kDots / Q : 1, kStep = kFit < kKeys ? kFit : kKeys;
    const float* queries_begin = q + query * head_dim;
    for (std::size_t i = 0; i < count; i += kKeys) {
      V dots[kLanes];
      for (std::size_t k = 0; k < kKeys; k += kStep) {
        const Element* rows[kStep];  // beyond the last key: that key again, its sums are not stored
        for (std::size_t s = 0; s < kStep; s++) rows[s] = keys + (i + k + s < count ? i + k + s : count - 1) * head_dim;
        V sums[kStep * Q];
        for (std::size_t j = 0; j < kStep * Q; j++) sums[j] = V::zero();
        for (std::size_t d = 0; d < head_dim; d += kLanes) {
          V key[kStep];
          for (std::size_t s = 0; s < kStep; s++) {
            key[s] = load16<V>(rows[s] + d);
            __builtin_prefetch(reinterpret_cast<const char*>(rows[s] + d) + kRingPrefetchBytes);
          }
          for (std::size_t j = 0; j < Q; j++) {
            const V part = V::load(queries_begin + j * head_dim + d);
            for (std::size_t s = 0; s < kStep; s++) sums[s * Q + j] = V::fma(part, key[s], sums[s * Q + j]);
          }
        }
        for (std::size_t j = 0; j < kStep * Q; j++) dots[k * Q + j] = sums[j];
      }
      const V result = V::reduce16(dots) * V::all(scale);
      float* to = scores + query * stride + position + i;
      if (Q == 1 && i + kKeys <= count) {
        result.store(to);
        continue;
      }
      float lanes[kLanes];
      result.store(lanes);
      for (std::size_t k = 0; k < kKeys && i + k < count; k++)
        for (std::size_t j = 0; j < Q; j++) to[j * stride + k] = lanes[k * Q + j];
    }
  }

  template <std::size_t Q>
  void score_queries(std::size_t query) const {
    Cursor cursor;
    std::size_t position = 0;
    for_runs(cursor, total, [&](const KvSegment& segment, std::size_t offset, std::size_t count) {
      score_run<Q>(static_cast<const Element*>(segment.keys) + offset * head_dim, count, position, query);
      position += count;
    });
  }

  // Scores to weights exp(score - max), not yet divided by their sum.
  void softmax(float* row) const {
    const float lowest = -__builtin_inff();
    for (std::size_t i = total; i < stride; i++) row[i] = lowest;
    V largest = V::all(lowest);
    for (std::size_t i = 0; i < stride; i += kLanes) largest = V::larger(V::load(row + i), largest);
    const V max = V::all(largest_lane(largest));
    for (std::size_t i = 0; i < stride; i += kLanes) exp16(V::load(row + i) - max).store(row + i);
  }

  // out[query + j][d ... d + 16 C) += the weighted values of one position block.
  template <std::size_t Q, std::size_t C>
  void weigh(Cursor cursor, std::size_t position, std::size_t count, std::size_t query, std::size_t d) const {
    V sums[Q * C];
    for (std::size_t j = 0; j < Q * C; j++) sums[j] = V::zero();
    const float* weights = scores + query * stride + position;
    for_runs(cursor, count, [&](const KvSegment& segment, std::size_t offset, std::size_t run) VOXTRAL_EDGE_INLINE {
      const Element* values = static_cast<const Element*>(segment.values) + offset * head_dim + d;
      for (std::size_t i = 0; i < run; i++, values += head_dim) {
        V value[C];
        for (std::size_t c = 0; c < C; c++) {
          value[c] = load16<V>(values + c * kLanes);
          __builtin_prefetch(reinterpret_cast<const char*>(values + c * kLanes) + kRingPrefetchBytes);
        }
        for (std::size_t j = 0; j < Q; j++) {
          const V weight = V::all(weights[j * stride + i]);
          for (std::size_t c = 0; c < C; c++) sums[j * C + c] = V::fma(weight, value[c], sums[j * C + c]);
        }
      }
      weights += run;
    });
    for (std::size_t j = 0; j < Q; j++)
      for (std::size_t c = 0; c < C; c++) {
        float* to = out + (query + j) * head_dim + d + c * kLanes;
        (V::load(to) + sums[j * C + c]).store(to);
      }
  }

  template <std::size_t Q>
  void weigh_queries(const Cursor& cursor, std::size_t position, std::size_t count, std::size_t query) const {
    constexpr std::size_t kFit = V::kSums / Q, kChunks = kFit < 1 ? 1 : kFit > 4 ? 4 : kFit;
    std::size_t d = 0;
    for (; d + kChunks * kLanes <= head_dim; d += kChunks * kLanes)
      weigh<Q, kChunks>(cursor, position, count, query, d);
    for (; d < head_dim; d += kLanes) weigh<Q, 1>(cursor, position, count, query, d);
  }

  // f.operator()<Q>(query) for the queries in tiles of 4, 2 and 1.
  template <class F>
  void for_query_tiles(std::size_t largest, F f) const {
    std::size_t query = 0;
    for (; largest >= 4 && query + 4 <= queries; query += 4) f.template operator()<4>(query);
    for (; query + 2 <= queries; query += 2) f.template operator()<2>(query);
    for (; query < queries; query++) f.template operator()<1>(query);
  }

  void run() const {
    for (std::size_t i = 0; i < queries * head_dim; i += kLanes) V::zero().store(out + i);
    if (total == 0) return;
    for_query_tiles(4, [&]<std::size_t Q>(std::size_t query) { score_queries<Q>(query); });
    for (std::size_t i = 0; i < queries; i++) softmax(scores + i * stride);
    Cursor cursor;
    for (std::size_t position = 0; position < total; position += kPositionBlock) {
      const std::size_t count = total - position < kPositionBlock ? total - position : kPositionBlock;
      for_query_tiles(V::kSums / 2,
                      [&]<std::size_t Q>(std::size_t query) { weigh_queries<Q>(cursor, position, count, query); });
      for_runs(cursor, count, [](const KvSegment&, std::size_t, std::size_t) {});
    }
    for (std::size_t i = 0; i < queries; i++) divide_by_weights(i);
  }

  // The sum runs over the lanes as softmax() left them: padding positions hold exp(-infinity) = 0.
  void divide_by_weights(std::size_t query) const {
    V sum = V::zero();
    for (std::size_t i = 0; i < stride; i += kLanes) sum = sum + V::load(scores + query * stride + i);
    const V inverse = V::all(1.0f / sum_lanes(sum));
    float* row = out + query * head_dim;
    for (std::size_t d = 0; d < head_dim; d += kLanes) (V::load(row + d) * inverse).store(row + d);
  }
};

template <class V>
void attend(const float* q, std::size_t queries, std::size_t head_dim, const KvSegment* segments,
            std::size_t segment_count, KvType type, float scale, float* scratch, float* out) {
  std::size_t total = 0;
  for (std::size_t s = 0; s < segment_count; s++) total += segments[s].count;
  const std::size_t stride = (total + kLanes - 1) / kLanes * kLanes;
  if (type == KvType::f32)
    Attention<V, float>{q, queries, head_dim, segments, segment_count, scale, scratch, total, stride, out}.run();
  else
    Attention<V, std::uint16_t>{q, queries, head_dim, segments, segment_count, scale, scratch, total, stride, out}
        .run();
}

}  // namespace voxtral_edge::shared
