// attend: against a naive softmax in double, and independence of how the ring is cut into segments.
#include <cmath>
#include <vector>

#include "check.h"
#include "kernels_support.h"

using namespace voxtral_edge;
using namespace voxtral_edge::test;

namespace {

struct Ring {
  std::size_t count, head_dim;
  std::vector<float> keys, values;  // what is attended to, after rounding to the storage type
  std::vector<std::uint16_t> half_keys, half_values;
};

Ring random_ring(std::size_t count, std::size_t head_dim, KvType type, Random& random) {
  Ring ring{count, head_dim, random.normals(count * head_dim), random.normals(count * head_dim), {}, {}};
  if (type == KvType::f32) return ring;
  for (auto [floats, halves] : {std::pair{&ring.keys, &ring.half_keys}, std::pair{&ring.values, &ring.half_values}})
    for (float& v : *floats) {
      halves->push_back(half_from_float(v));
      v = float_from_half(halves->back());
    }
  return ring;
}

KvSegment segment(const Ring& ring, KvType type, std::size_t begin, std::size_t count) {
  const std::size_t offset = begin * ring.head_dim;
  if (type == KvType::f32) return {ring.keys.data() + offset, ring.values.data() + offset, count};
  return {ring.half_keys.data() + offset, ring.half_values.data() + offset, count};
}

std::vector<float> attend(const Kernels& kernels, const Ring& ring, KvType type, const std::vector<float>& q,
                          std::size_t queries, const std::vector<KvSegment>& segments, float scale) {
  std::vector<float> scratch(queries * round_up(ring.count, 16)), out(queries * ring.head_dim, 99.0f);
  kernels.attend(q.data(), queries, ring.head_dim, segments.data(), segments.size(), type, scale, scratch.data(),
                 out.data());
  return out;
}

std::vector<double> naive(const Ring& ring, const std::vector<float>& q, std::size_t queries, double scale) {
  const std::size_t dim = ring.head_dim;
  std::vector<double> out(queries * dim);
  for (std::size_t j = 0; j < queries; j++) {
    std::vector<double> scores(ring.count);
    double max = -INFINITY, sum = 0;
    for (std::size_t i = 0; i < ring.count; i++) {
      for (std::size_t d = 0; d < dim; d++) scores[i] += static_cast<double>(q[j * dim + d]) * ring.keys[i * dim + d];
      scores[i] *= scale;
      max = std::max(max, scores[i]);
    }
    for (double& s : scores) sum += s = std::exp(s - max);
    for (std::size_t i = 0; i < ring.count; i++)
      for (std::size_t d = 0; d < dim; d++) out[j * dim + d] += scores[i] / sum * ring.values[i * dim + d];
  }
  return out;
}

}  // namespace

TEST("attend against a naive reference for many shapes") {
  Random random(30);
  for (const KvType type : {KvType::f32, KvType::f16})
    for (const std::size_t head_dim : {16, 48, 64, 128})
      for (const std::size_t queries : {1, 2, 3, 4, 7})
        for (const std::size_t count : {1, 2, 15, 16, 17, 100, 257, 700}) {
          const Ring ring = random_ring(count, head_dim, type, random);
          const std::vector<float> q = random.normals(queries * head_dim);
          const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
          const std::vector<double> expected = naive(ring, q, queries, scale);
          const std::size_t cut = count / 3;
          const std::vector<KvSegment> segments = {segment(ring, type, 0, cut), segment(ring, type, cut, count - cut)};
          std::vector<std::vector<float>> vector_results;
          for (const Kernels* kernels : available_kernels()) {
            const std::vector<float> out = attend(*kernels, ring, type, q, queries, segments, scale);
            // Scores up to ~5 carry an error of ~1e-6 (head_dim roundings), which enters the weights relatively; the
            // values are ~4 at most.
            for (std::size_t i = 0; i < out.size(); i++) CHECK_NEAR(out[i], expected[i], 8e-6);
            if (kernels != &scalar_kernels()) vector_results.push_back(out);
          }
          for (std::size_t i = 1; i < vector_results.size(); i++)
            CHECK(same_bits(vector_results[i].data(), vector_results[0].data(), vector_results[0].size()));
        }
}

TEST("any segmentation gives the same bits") {
  Random random(31);
  for (const KvType type : {KvType::f32, KvType::f16})
    for (int round = 0; round < 12; round++) {
      const std::size_t count = random.between(1, 900), head_dim = 64, queries = random.between(1, 5);
      const Ring ring = random_ring(count, head_dim, type, random);
      const std::vector<float> q = random.normals(queries * head_dim);
      std::vector<KvSegment> cuts;
      for (std::size_t begin = 0; begin < count;) {
        const std::size_t run = random.between(0, round % 2 ? 5 : 300),
                          taken = run < count - begin ? run : count - begin;
        cuts.push_back(segment(ring, type, begin, taken));  // empty segments too
        begin += taken;
      }
      for (const Kernels* kernels : available_kernels()) {
        const std::vector<float> whole =
            attend(*kernels, ring, type, q, queries, {segment(ring, type, 0, count)}, 0.2f);
        const std::vector<float> pieces = attend(*kernels, ring, type, q, queries, cuts, 0.2f);
        CHECK(same_bits(whole.data(), pieces.data(), whole.size()));
      }
    }
}

TEST("a query's result does not depend on the queries beside it") {
  Random random(32);
  const std::size_t count = 333, head_dim = 128, queries = 7;
  for (const KvType type : {KvType::f32, KvType::f16}) {
    const Ring ring = random_ring(count, head_dim, type, random);
    const std::vector<float> q = random.normals(queries * head_dim);
    for (const Kernels* kernels : available_kernels()) {
      const std::vector<KvSegment> segments = {segment(ring, type, 0, count)};
      const std::vector<float> all = attend(*kernels, ring, type, q, queries, segments, 0.1f);
      for (std::size_t j = 0; j < queries; j++) {
        const std::vector<float> one(q.begin() + static_cast<long>(j * head_dim),
                                     q.begin() + static_cast<long>((j + 1) * head_dim));
        const std::vector<float> out = attend(*kernels, ring, type, one, 1, segments, 0.1f);
        CHECK(same_bits(out.data(), all.data() + j * head_dim, head_dim));
      }
    }
  }
}

TEST("one dominating key, scores of hundreds, and a full window") {
  Random random(33);
  const std::size_t count = 8192, head_dim = 128;
  Ring ring = random_ring(count, head_dim, KvType::f32, random);
  std::vector<float> q = random.normals(head_dim);
  const std::vector<KvSegment> segments = {segment(ring, KvType::f32, 0, count)};
  for (const Kernels* kernels : available_kernels()) {
    const std::vector<double> expected = naive(ring, q, 1, 0.088388f);
    const std::vector<float> out = attend(*kernels, ring, KvType::f32, q, 1, segments, 0.088388f);
    for (std::size_t d = 0; d < head_dim; d++) CHECK_NEAR(out[d], expected[d], 2e-6);  // an average of many: ~0.1
  }
  for (std::size_t d = 0; d < head_dim; d++) ring.keys[5000 * head_dim + d] = 40.0f * q[d];
  for (const Kernels* kernels : available_kernels()) {
    const std::vector<float> out = attend(*kernels, ring, KvType::f32, q, 1, segments, 1.0f);
    for (std::size_t d = 0; d < head_dim; d++) CHECK_EQ(out[d], ring.values[5000 * head_dim + d]);
  }
}

TEST("no positions give zeros") {
  for (const Kernels* kernels : available_kernels()) {
    const std::vector<float> q(32, 1.0f);
    std::vector<float> out(32, 5.0f);
    float scratch = 0;
    kernels->attend(q.data(), 2, 16, nullptr, 0, KvType::f32, 1.0f, &scratch, out.data());
    for (const float v : out) CHECK_EQ(v, 0.0f);
  }
}

CHECK_MAIN()
