#include <cmath>

#include "kernels/half.h"
#include "kernels/scalar/functions.h"

namespace voxtral_edge::scalar {
namespace {

float as_float(float value) { return value; }
float as_float(std::uint16_t value) { return float_from_half(value); }

std::size_t total_count(const KvSegment* segments, std::size_t segment_count) {
  std::size_t total = 0;
  for (std::size_t s = 0; s < segment_count; s++) total += segments[s].count;
  return total;
}

template <class Element>
void attend_one(const float* q, std::size_t head_dim, const KvSegment* segments, std::size_t segment_count, float scale,
                float* scores, float* out) {
  const std::size_t total = total_count(segments, segment_count);
  std::size_t position = 0;
  float largest = -INFINITY;
  for (std::size_t s = 0; s < segment_count; s++) {
    const Element* keys = static_cast<const Element*>(segments[s].keys);
    for (std::size_t i = 0; i < segments[s].count; i++) {
      float dot = 0;
      for (std::size_t d = 0; d < head_dim; d++) dot += q[d] * as_float(keys[i * head_dim + d]);
      scores[position] = dot * scale;
      if (scores[position] > largest) largest = scores[position];
      position++;
    }
  }
  double sum = 0;
  for (std::size_t i = 0; i < total; i++) {
    scores[i] = std::exp(scores[i] - largest);
    sum += scores[i];
  }
  const float inverse = total ? static_cast<float>(1.0 / sum) : 0.0f;
  for (std::size_t d = 0; d < head_dim; d++) {
    double value = 0;  // 8192 positions: float would lose three digits
    position = 0;
    for (std::size_t s = 0; s < segment_count; s++) {
      const Element* values = static_cast<const Element*>(segments[s].values);
      for (std::size_t i = 0; i < segments[s].count; i++)
        value += static_cast<double>(scores[position++]) * as_float(values[i * head_dim + d]);
    }
    out[d] = static_cast<float>(value) * inverse;
  }
}

}  // namespace

void attend(const float* q, std::size_t queries, std::size_t head_dim, const KvSegment* segments,
            std::size_t segment_count, KvType type, float scale, float* scratch, float* out) {
  for (std::size_t i = 0; i < queries; i++) {
    if (type == KvType::f32)
      attend_one<float>(q + i * head_dim, head_dim, segments, segment_count, scale, scratch, out + i * head_dim);
    else
      attend_one<std::uint16_t>(q + i * head_dim, head_dim, segments, segment_count, scale, scratch,
                                out + i * head_dim);
  }
}

}  // namespace voxtral_edge::scalar
