// attend: against a naive softmax in double, and that a row's result depends on nothing but what the row sees.
#include <cmath>
#include <vector>

#include "attention_support.h"
#include "check.h"

using namespace voxtral_edge;
using namespace voxtral_edge::test;

namespace {

std::vector<double> naive(const TestRing& ring, const AttentionRows& in) {
  const std::size_t dim = in.head_dim;
  std::vector<double> out(in.rows * in.queries * dim);
  for (std::size_t line = 0; line < in.rows * in.queries; line++) {
    const std::size_t row = line / in.queries;
    std::vector<double> scores;
    double max = -INFINITY, sum = 0;
    for (std::uint64_t p = oldest_seen(in, row); p <= in.position + row; p++) {
      double dot = 0;
      for (std::size_t d = 0; d < dim; d++) dot += static_cast<double>(in.q[line * dim + d]) * ring.key(p)[d];
      scores.push_back(dot * in.scale);
      max = std::max(max, scores.back());
    }
    for (double& s : scores) sum += s = std::exp(s - max);
    for (std::size_t i = 0; i < scores.size(); i++)
      for (std::size_t d = 0; d < dim; d++)
        out[line * dim + d] += scores[i] / sum * ring.value(oldest_seen(in, row) + i)[d];
  }
  return out;
}

// A ring that holds what the rows of `in` see and nothing else.
TestRing ring_for(const AttentionRows& in, KvType type, std::size_t spare_blocks, Random& random) {
  TestRing ring(type, in.head_dim, round_up(in.window - 1 + in.rows, kKvBlock) + spare_blocks * kKvBlock);
  ring.write_random(oldest_seen(in, 0), in.position + in.rows, random);
  return ring;
}

}  // namespace

TEST("attend against a naive reference for many shapes") {
  Random random(30);
  const auto one_of = [&](std::vector<std::size_t> choices) { return choices[random.below(choices.size())]; };
  for (const KvType type : kKvTypes)
    for (int round = 0; round < 60; round++) {
      const std::size_t head_dim = one_of({16, 48, 64, 80, 128}), window = one_of({1, 5, 63, 64, 65, 130, 300});
      const std::size_t queries = one_of({1, 2, 3, 4, 7, 40}), rows = one_of({1, 2, 4, 9, 33, 64});
      if (queries * rows > 150) continue;
      const std::vector<float> q = random.normals(rows * queries * head_dim);
      const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
      const std::uint64_t first = random.below(1000), position = first + random.below(2 * window);
      const AttentionRows in{q.data(), rows, queries, head_dim, position, first, window, scale};
      const TestRing ring = ring_for(in, type, random.below(2), random);
      const std::vector<double> expected = naive(ring, in);
      std::vector<std::vector<float>> vector_results;
      for (const Kernels* kernels : available_kernels()) {
        const std::vector<float> out = attend(*kernels, ring, in);
        // Scores up to ~5 carry an error of ~1e-6 (head_dim roundings), which enters the weights relatively; the
        // values are ~4 at most.
        for (std::size_t i = 0; i < out.size(); i++) CHECK_NEAR(out[i], expected[i], 8e-6);
        if (kernels != &scalar_kernels()) vector_results.push_back(out);
      }
      for (std::size_t i = 1; i < vector_results.size(); i++)
        CHECK(same_bits(vector_results[i].data(), vector_results[0].data(), vector_results[0].size()));
    }
}

TEST("a row alone, beside others, and in a ring that wraps elsewhere: the same bits") {
  Random random(31);
  for (const KvType type : kKvTypes)
    for (int round = 0; round < 12; round++) {
      const std::size_t head_dim = 16 * random.between(1, 8), queries = random.between(1, 5);
      const std::size_t rows = random.between(2, 40), window = random.between(1, round % 2 ? 20 : 200);
      const std::uint64_t first = random.below(300), position = first + random.below(3 * window);
      const std::vector<float> q = random.normals(rows * queries * head_dim);
      const AttentionRows in{q.data(), rows, queries, head_dim, position, first, window, 0.2f};
      const TestRing ring = ring_for(in, type, 0, random);
      TestRing longer(type, head_dim, round_up(window - 1 + rows, kKvBlock) + random.between(1, 5) * kKvBlock);
      for (std::uint64_t p = oldest_seen(in, 0); p < position + rows; p++) longer.write(p, ring.key(p), ring.value(p));
      for (const Kernels* kernels : available_kernels()) {
        const std::vector<float> all = attend(*kernels, ring, in);
        if (type != KvType::i8) {  // rounding again what was rounded to int8 may move it
          const std::vector<float> elsewhere = attend(*kernels, longer, in);
          CHECK(same_bits(all.data(), elsewhere.data(), all.size()));
        }
        for (std::size_t r = 0; r < rows; r++) {
          const std::vector<float> alone = attend(*kernels, ring, one_row(in, r));
          CHECK(same_bits(alone.data(), all.data() + r * queries * head_dim, alone.size()));
        }
      }
    }
}

TEST("what a row does not see cannot reach it, not even a NaN") {
  Random random(32);
  const std::size_t head_dim = 64, queries = 2, rows = 12, window = 40;
  const std::vector<float> q = random.normals(rows * queries * head_dim), bad(head_dim, NAN);
  for (const KvType type : kKvTypes)
    for (const std::uint64_t position : {100u, 122u, 127u, 128u}) {
      const AttentionRows in{q.data(), rows, queries, head_dim, position, 0, window, 0.2f};
      for (const std::size_t damaged : {std::size_t{0}, std::size_t{3}, std::size_t{45}, window + rows - 2}) {
        TestRing ring = ring_for(in, type, 0, random);
        const std::uint64_t at = position + 1 - window + damaged;
        std::vector<std::vector<float>> before;
        for (const Kernels* kernels : available_kernels()) before.push_back(attend(*kernels, ring, in));
        ring.write(at, bad, bad);
        for (const Kernels* kernels : available_kernels()) {
          const std::vector<float> out = attend(*kernels, ring, in);
          for (std::size_t r = 0; r < rows; r++) {
            const float* row = out.data() + r * queries * head_dim;
            if (oldest_seen(in, r) <= at && at <= position + r) CHECK(std::isnan(row[0]));
            else CHECK(same_bits(row, before.front().data() + r * queries * head_dim, queries * head_dim));
          }
          before.erase(before.begin());
        }
      }
    }
}

TEST("one dominating key, scores of hundreds, and a full window") {
  Random random(33);
  const std::size_t window = 8192, head_dim = 128;
  const std::vector<float> q = random.normals(head_dim);
  AttentionRows in{q.data(), 1, 1, head_dim, 20000, 5, window, 0.088388f};
  TestRing ring = ring_for(in, KvType::f32, 0, random);
  const std::vector<double> expected = naive(ring, in);
  for (const Kernels* kernels : available_kernels()) {
    const std::vector<float> out = attend(*kernels, ring, in);
    for (std::size_t d = 0; d < head_dim; d++) CHECK_NEAR(out[d], expected[d], 2e-6);  // an average of many: ~0.1
  }
  std::vector<float> key = q;
  for (float& v : key) v *= 40.0f;
  ring.write(17000, key, ring.value(17000));
  in.scale = 1.0f;
  for (const Kernels* kernels : available_kernels()) {
    const std::vector<float> out = attend(*kernels, ring, in);
    for (std::size_t d = 0; d < head_dim; d++) CHECK_EQ(out[d], ring.value(17000)[d]);
  }
}

CHECK_MAIN()
