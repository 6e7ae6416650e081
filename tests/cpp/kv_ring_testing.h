// Reads single numbers out of a KV ring, by the layout of kernels.h.
#pragma once

#include <cstdint>

#include "kernels/half.h"
#include "model/kv_ring.h"

namespace voxtral_edge::check {

struct RingReader {
  KvHead head;
  std::size_t head_dim_padded;

  RingReader(const KvRing& ring, std::size_t layer, std::size_t kv_head)
      : head(ring.head(layer, kv_head)), head_dim_padded(ring.head_dim_padded()) {}

  float key(std::uint64_t position, std::size_t d) const {
    const std::size_t slot = position % head.slots, group = slot / 16, lane = slot % 16;
    const std::size_t blocks = (head_dim_padded + 31) / 32, scale = (group * blocks + d / 32) * 16 + lane;
    return number(head.keys, (group * head_dim_padded + d) * 16 + lane, head.key_scales, scale);
  }
  float value(std::uint64_t position, std::size_t d) const {
    const std::size_t slot = position % head.slots, scale = slot * ((head_dim_padded + 31) / 32) + d / 32;
    return number(head.values, slot * head_dim_padded + d, head.value_scales, scale);
  }

 private:
  float number(const void* data, std::size_t index, const float* scales, std::size_t scale) const {
    switch (head.type) {
      case KvType::f32:
        return static_cast<const float*>(data)[index];
      case KvType::f16:
        return float_from_half(static_cast<const std::uint16_t*>(data)[index]);
      case KvType::i8:
        return static_cast<const std::int8_t*>(data)[index] * scales[scale];
    }
    return 0.0f;
  }
};

}  // namespace voxtral_edge::check
