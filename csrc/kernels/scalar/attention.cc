#include <cmath>

#include "kernels/half.h"
#include "kernels/scalar/functions.h"

namespace voxtral_edge::scalar {
namespace {

float as_float(float value) { return value; }
float as_float(std::uint16_t value) { return float_from_half(value); }
float as_float(std::int8_t value) { return static_cast<float>(value); }

// Reads single numbers of a ring.
template <class Element>
struct Reader {
  const KvHead& ring;
  std::size_t head_dim, blocks = (head_dim + kKvScaleColumns - 1) / kKvScaleColumns;

  float key(std::uint64_t position, std::size_t d) const {
    const std::size_t slot = static_cast<std::size_t>(position % ring.slots), group = slot / kKvLanes;
    const float value =
        as_float(static_cast<const Element*>(ring.keys)[(group * head_dim + d) * kKvLanes + slot % kKvLanes]);
    if (ring.type != KvType::i8) return value;
    return value * ring.key_scales[(group * blocks + d / kKvScaleColumns) * kKvLanes + slot % kKvLanes];
  }
  float value(std::uint64_t position, std::size_t d) const {
    const std::size_t slot = static_cast<std::size_t>(position % ring.slots);
    const float value = as_float(static_cast<const Element*>(ring.values)[slot * head_dim + d]);
    return ring.type == KvType::i8 ? value * ring.value_scales[slot * blocks + d / kKvScaleColumns] : value;
  }
};

// One query that sees `oldest` to `position`, block by block as described in kernels.h.
template <class Element>
void attend_one(const Reader<Element>& reader, const float* q, float scale, std::uint64_t oldest,
                std::uint64_t position, double* sums, float* out) {
  const std::size_t head_dim = reader.head_dim;
  float largest = -INFINITY;
  double total = 0;
  for (std::size_t d = 0; d < head_dim; d++) sums[d] = 0;  // 8192 positions: float would lose three digits
  for (std::uint64_t begin = oldest; begin <= position;) {
    std::uint64_t end = begin / kKvBlock * kKvBlock + kKvBlock;
    if (end > position + 1) end = position + 1;
    float scores[kKvBlock], most = largest;
    for (std::uint64_t p = begin; p < end; p++) {
      float dot = 0;
      for (std::size_t d = 0; d < head_dim; d++) dot += q[d] * reader.key(p, d);
      scores[p - begin] = dot * scale;
      if (scores[p - begin] > most) most = scores[p - begin];
    }
    const double factor = std::exp(static_cast<double>(largest) - most);
    largest = most;
    total *= factor;
    for (std::size_t d = 0; d < head_dim; d++) sums[d] *= factor;
    for (std::uint64_t p = begin; p < end; p++) {
      const double weight = std::exp(scores[p - begin] - largest);
      total += weight;
      for (std::size_t d = 0; d < head_dim; d++) sums[d] += weight * reader.value(p, d);
    }
    begin = end;
  }
  for (std::size_t d = 0; d < head_dim; d++) out[d] = static_cast<float>(sums[d] / total);
}

template <class Element>
void attend_all(const KvHead& ring, const AttentionRows& in, double* sums, float* out) {
  const Reader<Element> reader{ring, in.head_dim};
  for (std::size_t row = 0; row < in.rows; row++) {
    const std::uint64_t position = in.position + row, there = position - in.first + 1;
    const std::uint64_t oldest = there < in.window ? in.first : position + 1 - in.window;
    for (std::size_t i = row * in.queries; i < (row + 1) * in.queries; i++)
      attend_one(reader, in.q + i * in.head_dim, in.scale, oldest, position, sums, out + i * in.head_dim);
  }
}

}  // namespace

void attend(const KvHead& ring, const AttentionRows& rows, float* scratch, float* out) {
  double* sums = reinterpret_cast<double*>((reinterpret_cast<std::uintptr_t>(scratch) + 7) & ~std::uintptr_t{7});
  switch (ring.type) {
    case KvType::f32:
      return attend_all<float>(ring, rows, sums, out);
    case KvType::f16:
      return attend_all<std::uint16_t>(ring, rows, sums, out);
    case KvType::i8:
      return attend_all<std::int8_t>(ring, rows, sums, out);
  }
}

}  // namespace voxtral_edge::scalar
