// A ring of one KV head for the attention tests: the layout of kernels.h written out naively, number by number.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "kernels_support.h"

namespace voxtral_edge::test {

inline constexpr KvType kKvTypes[] = {KvType::f32, KvType::f16, KvType::i8};

class TestRing {
 public:
  // Slots that were never written hold NaN: whoever lets them in, shows it.
  TestRing(KvType type, std::size_t head_dim, std::size_t slots)
      : type_(type), head_dim_(head_dim), slots_(slots), blocks_((head_dim + 31) / 32) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    floats_[0].assign(slots * head_dim, nan);
    halves_[0].assign(slots * head_dim, 0x7e00);
    bytes_[0].assign(slots * head_dim, 1);
    scales_[0].assign(slots * blocks_, nan);
    floats_[1] = floats_[0], halves_[1] = halves_[0], bytes_[1] = bytes_[0], scales_[1] = scales_[0];
  }

  void write(std::uint64_t position, const std::vector<float>& key, const std::vector<float>& value) {
    for (std::size_t i = 0; i < 2; i++) {
      const std::vector<float>& x = i == 0 ? key : value;
      std::vector<float>& seen = numbers_[{position, i}];
      seen.resize(head_dim_);
      for (std::size_t d = 0; d < head_dim_; d++) seen[d] = store(i == 0, position % slots_, d, x);
    }
  }
  void write_random(std::uint64_t begin, std::uint64_t end, Random& random) {
    for (std::uint64_t p = begin; p < end; p++) write(p, random.normals(head_dim_), random.normals(head_dim_));
  }

  KvHead head() const {
    const auto data = [&](std::size_t i) -> const void* {
      if (type_ == KvType::f32) return floats_[i].data();
      if (type_ == KvType::f16) return halves_[i].data();
      return bytes_[i].data();
    };
    return {data(0), data(1), scales_[0].data(), scales_[1].data(), slots_, type_};
  }
  // What is attended to: after rounding to the storage type.
  const std::vector<float>& key(std::uint64_t position) const { return numbers_.at({position, 0}); }
  const std::vector<float>& value(std::uint64_t position) const { return numbers_.at({position, 1}); }
  std::size_t head_dim() const { return head_dim_; }

 private:
  float store(bool is_key, std::size_t slot, std::size_t d, const std::vector<float>& x) {
    const std::size_t lane = slot % 16, group = slot / 16, which = is_key ? 0 : 1;
    const std::size_t at = is_key ? (group * head_dim_ + d) * 16 + lane : slot * head_dim_ + d;
    if (type_ == KvType::f32) return floats_[which][at] = x[d];
    if (type_ == KvType::f16) return float_from_half(halves_[which][at] = half_from_float(x[d]));
    float most = 0;
    for (std::size_t i = d / 32 * 32; i < std::min(d / 32 * 32 + 32, head_dim_); i++)
      most = std::isfinite(x[i]) ? std::max(most, std::fabs(x[i])) : x[i];
    const float scale = most / 127.0f;
    const auto q = static_cast<std::int8_t>(std::isfinite(scale) && scale > 0 ? std::nearbyint(x[d] / scale) : 0);
    bytes_[which][at] = q;
    scales_[which][is_key ? (group * blocks_ + d / 32) * 16 + lane : slot * blocks_ + d / 32] = scale;
    return static_cast<float>(q) * scale;
  }

  KvType type_;
  std::size_t head_dim_, slots_, blocks_;
  std::vector<float> floats_[2], scales_[2];  // keys, values
  std::vector<std::uint16_t> halves_[2];
  std::vector<std::int8_t> bytes_[2];
  std::map<std::pair<std::uint64_t, std::size_t>, std::vector<float>> numbers_;
};

inline std::vector<float> attend(const Kernels& kernels, const TestRing& ring, AttentionRows in) {
  std::vector<float> scratch(attention_scratch_floats(in.head_dim), std::numeric_limits<float>::quiet_NaN());
  std::vector<float> out(in.rows * in.queries * in.head_dim, 99.0f);
  kernels.attend(ring.head(), in, scratch.data(), out.data());
  return out;
}

// One row of the call on its own.
inline AttentionRows one_row(AttentionRows in, std::size_t row) {
  in.q += row * in.queries * in.head_dim;
  in.position += row;
  in.rows = 1;
  return in;
}

inline std::uint64_t oldest_seen(const AttentionRows& in, std::size_t row) {
  const std::uint64_t position = in.position + row;
  return position - std::min<std::uint64_t>(position - in.first, in.window - 1);
}

}  // namespace voxtral_edge::test
