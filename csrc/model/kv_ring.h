// The sliding-window KV cache of one stack (encoder or decoder) of one stream: a ring, written in place, never moved.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/aligned_buffer.h"
#include "kernels/kernels.h"

namespace voxtral_edge {

struct KvRingShape {
  std::size_t layers, kv_heads, head_dim;
  std::size_t window;  // keys a query may see, itself included
  std::size_t slack;   // further slots, so that a pass may write this many positions before its queries attend
  KvType type;

  std::size_t head_dim_padded() const { return (head_dim + 15) / 16 * 16; }  // kernels work on 16 lanes
  std::size_t scale_blocks() const {                                         // scales per position and head, keys only
    return type == KvType::i8 ? (head_dim_padded() + kKvScaleColumns - 1) / kKvScaleColumns : 0;
  }
  std::size_t slots() const { return (window - 1 + slack + kKvBlock - 1) / kKvBlock * kKvBlock; }
  std::size_t bytes() const;  // of a ring of this shape, keys and values, once all of it is touched
};

// Position p lives in slot p mod slots, slots >= window - 1 + slack. Queries at p see max(first, p - window + 1) .. p.
// Positions count from `first_position`, which may be any 64-bit number: there is no length limit.
class KvRing {
 public:
  explicit KvRing(const KvRingShape& shape);

  std::size_t head_dim_padded() const { return head_dim_padded_; }
  std::size_t slots() const { return slots_; }
  std::size_t window() const { return shape_.window; }
  std::uint64_t first_position() const { return first_position_; }
  KvType type() const { return shape_.type; }

  // Forgets everything; the next position is `first_position`.
  void reset(std::uint64_t first_position);

  // Takes over all positions before `next_position` that can still be seen, from a ring of the same shape.
  void copy(const KvRing& from, std::uint64_t next_position);

  // As if a whole window had been written before the next position: every slot holds the same small number. Makes the
  // cost of a full window measurable without filling it (benchmarks only). Error(usage) before a window of positions.
  void assume_full();

  // Stores one key and one value, [head_dim] floats each, rounded to nearest; f16 holds +-65504 at most: finite
  // numbers beyond become that, and are counted. Neighbouring positions of a head share cache lines: threads should
  // divide heads, not positions.
  void write(const Kernels& kernels, std::size_t layer, std::size_t kv_head, std::uint64_t position, const float* key,
             const float* value);

  // Numbers since the reset that did not fit f16.
  std::uint64_t saturated() const { return saturated_.load(std::memory_order_relaxed); }

  // What attend() reads. Valid until the ring is destroyed.
  KvHead head(std::size_t layer, std::size_t kv_head) const;

 private:
  // Index of a head's first slot among the slots of all heads.
  std::size_t first_slot(std::size_t layer, std::size_t kv_head) const {
    return (layer * shape_.kv_heads + kv_head) * slots_;
  }
  template <class Element, class Round>
  void write_as(std::size_t slot, const float* key, const float* value, Round round);

  KvRingShape shape_;
  std::size_t head_dim_padded_, slots_, element_bytes_, scale_blocks_;
  std::uint64_t first_position_ = 0;
  std::atomic<std::uint64_t> saturated_{0};  // threads write heads side by side
  AlignedBuffer keys_, values_;              // [layers][kv_heads] KvHead::keys, values
  AlignedBuffer key_scales_, value_scales_;  // [layers][kv_heads] KvHead::key_scales, value_scales
};

}  // namespace voxtral_edge
