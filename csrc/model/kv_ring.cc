#include "model/kv_ring.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/error.h"

namespace voxtral_edge {

KvRing::KvRing(const KvRingShape& shape)
    : shape_(shape),
      head_dim_padded_((shape.head_dim + 15) / 16 * 16),  // kernels work on 16 lanes; the padding stays zero
      slots_(shape.window - 1 + shape.slack),
      element_bytes_(shape.type == KvType::f16 ? 2 : 4),
      keys_(shape.layers * shape.kv_heads * slots_ * head_dim_padded_ * element_bytes_, PageSize::small),
      values_(shape.layers * shape.kv_heads * slots_ * head_dim_padded_ * element_bytes_, PageSize::small) {}

void KvRing::reset(std::uint64_t first_position) {
  // Old contents need no clearing: window() never reaches before first_position.
  first_position_ = first_position;
}

void KvRing::copy(const KvRing& from, std::uint64_t next_position) {
  first_position_ = from.first_position_;
  const std::size_t count =
      static_cast<std::size_t>(std::min<std::uint64_t>(next_position - first_position_, shape_.window));
  const std::size_t first_slot = static_cast<std::size_t>((next_position - count) % slots_);
  const std::size_t run = std::min(count, slots_ - first_slot), slot_bytes = head_dim_padded_ * element_bytes_;
  const auto copy_slots = [&](const AlignedBuffer& source, AlignedBuffer& target, std::size_t base) {
    const std::size_t at = (base + first_slot * head_dim_padded_) * element_bytes_;
    std::memcpy(target.data() + at, source.data() + at, run * slot_bytes);
    std::memcpy(target.data() + base * element_bytes_, source.data() + base * element_bytes_,
                (count - run) * slot_bytes);
  };
  for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      copy_slots(from.keys_, keys_, head_offset(layer, head));
      copy_slots(from.values_, values_, head_offset(layer, head));
    }
  }
}

void KvRing::assume_full() {
  if (first_position_ < shape_.window) {
    throw Error(ErrorCode::usage, "assume_full_cache: start_token_position lies within the first " +
                                      std::to_string(shape_.window) + " positions; start at a later one");
  }
  // Written, not only claimed: pages that were never touched would be read from the one shared zero page, in cache.
  if (shape_.type == KvType::f16) {
    constexpr std::uint16_t kHalf = 0x2400;  // 1/64
    std::fill_n(keys_.as<std::uint16_t>(), keys_.bytes() / sizeof(std::uint16_t), kHalf);
    std::fill_n(values_.as<std::uint16_t>(), values_.bytes() / sizeof(std::uint16_t), kHalf);
  } else {
    std::fill_n(keys_.as<float>(), keys_.bytes() / sizeof(float), 0x1p-6f);
    std::fill_n(values_.as<float>(), values_.bytes() / sizeof(float), 0x1p-6f);
  }
  first_position_ -= shape_.window;
}

void KvRing::write(const Kernels& kernels, std::size_t layer, std::size_t kv_head, std::uint64_t position,
                   const float* key, const float* value) {
  const std::size_t slot = static_cast<std::size_t>(position % slots_);
  const std::size_t offset = head_offset(layer, kv_head) + slot * head_dim_padded_;
  if (shape_.type == KvType::f16) {
    kernels.to_f16(key, shape_.head_dim, keys_.as<std::uint16_t>() + offset);
    kernels.to_f16(value, shape_.head_dim, values_.as<std::uint16_t>() + offset);
  } else {
    std::memcpy(keys_.as<float>() + offset, key, shape_.head_dim * sizeof(float));
    std::memcpy(values_.as<float>() + offset, value, shape_.head_dim * sizeof(float));
  }
}

std::size_t KvRing::window(std::size_t layer, std::size_t kv_head, std::uint64_t position,
                           KvSegment segments[2]) const {
  const std::uint64_t seen = std::min<std::uint64_t>(position - first_position_ + 1, shape_.window);
  const std::size_t first_slot = static_cast<std::size_t>((position + 1 - seen) % slots_);
  const std::size_t run = std::min<std::size_t>(static_cast<std::size_t>(seen), slots_ - first_slot);
  const std::size_t base = head_offset(layer, kv_head);
  const auto at = [&](const AlignedBuffer& buffer, std::size_t slot) {
    return static_cast<const void*>(buffer.data() + (base + slot * head_dim_padded_) * element_bytes_);
  };
  segments[0] = {at(keys_, first_slot), at(values_, first_slot), run};
  if (run == seen) return 1;
  segments[1] = {at(keys_, 0), at(values_, 0), static_cast<std::size_t>(seen) - run};
  return 2;
}

}  // namespace voxtral_edge
