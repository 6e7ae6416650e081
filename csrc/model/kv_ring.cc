#include "model/kv_ring.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "base/error.h"

namespace voxtral_edge {
namespace {

// Columns of one key or value that are rounded at once.
constexpr std::size_t kChunk = kTileColumns;

// Halves, with finite numbers beyond their range at its ends: one infinite key or value would turn every row that sees
// it into NaN. Models compute in bfloat16, whose range is that of float. What is not finite stays visible.
// Returns how many they were.
std::uint64_t to_f16_saturated(const Kernels& kernels, const float* x, std::size_t count, std::uint16_t* out) {
  kernels.to_f16(x, count, out);
  std::uint64_t saturated = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const bool overflowed = (out[i] & 0x7fff) == 0x7c00 && std::isfinite(x[i]);
    out[i] = static_cast<std::uint16_t>(out[i] - overflowed);  // from infinity to the largest half, 65504
    saturated += overflowed;
  }
  return saturated;
}

std::size_t bytes_of(KvType type) {
  switch (type) {
    case KvType::f32:
      return 4;
    case KvType::f16:
      return 2;
    case KvType::i8:
      return 1;
  }
  throw Error(ErrorCode::internal, "KvRing: unknown KvType");
}

// All slots of all heads.
std::size_t all_slots(const KvRingShape& shape) { return shape.layers * shape.kv_heads * shape.slots(); }
std::size_t element_bytes(const KvRingShape& shape) {
  return all_slots(shape) * shape.head_dim_padded() * bytes_of(shape.type);
}
std::size_t scale_bytes(const KvRingShape& shape) { return all_slots(shape) * shape.scale_blocks() * sizeof(float); }

}  // namespace

std::size_t KvRingShape::bytes() const { return 2 * (element_bytes(*this) + scale_bytes(*this)); }

KvRing::KvRing(const KvRingShape& shape)
    : shape_(shape),
      head_dim_padded_(shape.head_dim_padded()),
      slots_(shape.slots()),
      element_bytes_(bytes_of(shape.type)),
      scale_blocks_(shape.scale_blocks()),
      keys_(voxtral_edge::element_bytes(shape), PageSize::small),
      values_(voxtral_edge::element_bytes(shape), PageSize::small),
      key_scales_(scale_bytes(shape), PageSize::small),
      value_scales_(scale_bytes(shape), PageSize::small) {}

void KvRing::reset(std::uint64_t first_position) {
  // Old contents need no clearing: no query sees a position before first_position.
  first_position_ = first_position;
  saturated_ = 0;
}

void KvRing::copy(const KvRing& from, std::uint64_t next_position) {
  first_position_ = from.first_position_;
  saturated_ = from.saturated();
  const std::uint64_t oldest = next_position - std::min<std::uint64_t>(next_position - first_position_, shape_.window);
  const auto copy_block = [](const AlignedBuffer& source, AlignedBuffer& target, std::size_t slot, std::size_t bytes) {
    if (bytes == 0) return;  // no scales: an empty buffer's null pointer is not for memcpy
    std::memcpy(target.data() + slot * bytes, source.data() + slot * bytes, kKvBlock * bytes);
  };
  for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      for (std::uint64_t block = oldest / kKvBlock * kKvBlock; block < next_position; block += kKvBlock) {
        const std::size_t slot = first_slot(layer, head) + static_cast<std::size_t>(block % slots_);
        copy_block(from.keys_, keys_, slot, head_dim_padded_ * element_bytes_);
        copy_block(from.values_, values_, slot, head_dim_padded_ * element_bytes_);
        copy_block(from.key_scales_, key_scales_, slot, scale_blocks_ * sizeof(float));
        copy_block(from.value_scales_, value_scales_, slot, scale_blocks_ * sizeof(float));
      }
    }
  }
}

void KvRing::assume_full() {
  if (first_position_ < shape_.window) {
    throw Error(ErrorCode::usage, "assume_full_cache: start_token_position lies within the first " +
                                      std::to_string(shape_.window) + " positions; start at a later one");
  }
  // Written, not only claimed: pages that were never touched would be read from the one shared zero page, in cache.
  const auto fill = [](AlignedBuffer& buffer, auto number) {
    std::fill_n(buffer.as<decltype(number)>(), buffer.bytes() / sizeof(number), number);
  };
  for (AlignedBuffer* buffer : {&keys_, &values_}) {
    switch (shape_.type) {
      case KvType::f32:
        fill(*buffer, 0x1p-6f);
        break;
      case KvType::f16:
        fill(*buffer, std::uint16_t{0x2400});
        break;  // 2^-6
      case KvType::i8:
        fill(*buffer, std::int8_t{64});
        break;
    }
  }
  for (AlignedBuffer* buffer : {&key_scales_, &value_scales_}) fill(*buffer, 0x1p-12f);
  first_position_ -= shape_.window;
}

// round(x, count, out, scales): `count` floats to elements, and for i8 the scale of each kKvScaleColumns of them.
template <class Element, class Round>
void KvRing::write_as(std::size_t slot, const float* key, const float* value, Round round) {
  const std::size_t group = slot / kKvLanes, lane = slot % kKvLanes;
  alignas(64) Element rounded[kChunk];
  float scales[kChunk / kKvScaleColumns] = {};
  for (std::size_t begin = 0; begin < shape_.head_dim; begin += kChunk) {
    const std::size_t count = std::min(kChunk, shape_.head_dim - begin);
    const std::size_t block = begin / kKvScaleColumns,
                      blocks = std::min(scale_blocks_ - block, kChunk / kKvScaleColumns);
    round(key + begin, count, rounded, scales);
    Element* keys = keys_.as<Element>() + (group * head_dim_padded_ + begin) * kKvLanes + lane;
    for (std::size_t i = 0; i < count; ++i) keys[i * kKvLanes] = rounded[i];
    if (scale_blocks_ != 0) {
      float* to = key_scales_.as<float>() + (group * scale_blocks_ + block) * kKvLanes + lane;
      for (std::size_t b = 0; b < blocks; ++b) to[b * kKvLanes] = scales[b];
    }
    round(value + begin, count, rounded, scales);
    std::copy_n(rounded, count, values_.as<Element>() + slot * head_dim_padded_ + begin);
    if (scale_blocks_ != 0) std::copy_n(scales, blocks, value_scales_.as<float>() + slot * scale_blocks_ + block);
  }
}

void KvRing::write(const Kernels& kernels, std::size_t layer, std::size_t kv_head, std::uint64_t position,
                   const float* key, const float* value) {
  const std::size_t slot = first_slot(layer, kv_head) + static_cast<std::size_t>(position % slots_);
  switch (shape_.type) {
    case KvType::f32:
      return write_as<float>(slot, key, value,
                             [](const float* x, std::size_t count, float* out, float*) { std::copy_n(x, count, out); });
    case KvType::f16:
      return write_as<std::uint16_t>(slot, key, value,
                                     [&](const float* x, std::size_t count, std::uint16_t* out, float*) {
                                       const std::uint64_t saturated = to_f16_saturated(kernels, x, count, out);
                                       if (saturated > 0) saturated_.fetch_add(saturated, std::memory_order_relaxed);
                                     });
    case KvType::i8:
      static_assert(kKvScaleColumns == kBlockColumns && kChunk % kTileColumns == 0);
      return write_as<std::int8_t>(slot, key, value,
                                   [&](const float* x, std::size_t count, std::int8_t* out, float* scales) {
                                     std::int32_t sums[kChunk / kBlockColumns];
                                     kernels.quantize_rows(x, 1, count, count, {out, scales, sums, kChunk});
                                   });
  }
}

KvHead KvRing::head(std::size_t layer, std::size_t kv_head) const {
  const std::size_t slot = first_slot(layer, kv_head);
  const std::size_t elements = slot * head_dim_padded_ * element_bytes_, scales = slot * scale_blocks_;
  const bool scaled = scale_blocks_ != 0;
  return {keys_.data() + elements,
          values_.data() + elements,
          scaled ? key_scales_.as<float>() + scales : nullptr,
          scaled ? value_scales_.as<float>() + scales : nullptr,
          slots_,
          shape_.type};
}

}  // namespace voxtral_edge
