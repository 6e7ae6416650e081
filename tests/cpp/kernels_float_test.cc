// Float kernels: every instruction set against double, all vector implementations equal to each other bit for bit,
// and independence of the number of rows and the range of groups.
#include <cmath>
#include <limits>
#include <vector>

#include "check.h"
#include "kernels_support.h"

using namespace voxtral_edge;
using namespace voxtral_edge::test;

namespace {

constexpr double kUnit = 0x1p-24;  // half a unit in the last place, relative

void multiply(const Kernels& kernels, const PackedMatrix& w, const float* x, std::size_t rows, std::size_t stride,
              std::size_t begin, std::size_t end, const float* bias, float* y, std::size_t y_stride) {
  if (w.type() == WeightType::f16)
    kernels.matmul_f16(reinterpret_cast<const std::uint16_t*>(w.data()), w.columns(), x, rows, stride, begin, end, bias,
                       y, y_stride);
  else
    kernels.matmul_f32(reinterpret_cast<const float*>(w.data()), w.columns(), x, rows, stride, begin, end, bias, y,
                       y_stride);
}

void check_vectors_agree(const std::vector<std::vector<float>>& results) {
  for (std::size_t i = 1; i < results.size(); i++)
    CHECK(same_bits(results[i].data(), results[0].data(), results[0].size()));
}

}  // namespace

TEST("matmul_f32 and matmul_f16 against double for random shapes") {
  Random random(20);
  for (int round = 0; round < 60; round++) {
    const WeightType type = round % 2 ? WeightType::f32 : WeightType::f16;
    const std::size_t rows = round < 30 ? static_cast<std::size_t>(round) + 1 : random.between(1, 40);
    const std::size_t columns = random.between(1, round % 5 ? 300 : 3000), outputs = random.between(1, 40);
    const SourceMatrix source = random_matrix(type, outputs, columns, random);
    const PackedMatrix packed = pack(type, source);
    const std::size_t stride = columns + random.below(3), y_stride = packed.padded_rows() + random.below(3);
    const std::vector<float> x = random.normals(rows * stride), bias = random.normals(packed.padded_rows());
    std::vector<std::vector<float>> vector_results;
    for (const Kernels* kernels : available_kernels()) {
      std::vector<float> y(rows * y_stride, 77.0f);
      multiply(*kernels, packed, x.data(), rows, stride, 0, packed.groups(), bias.data(), y.data(), y_stride);
      for (std::size_t m = 0; m < rows; m++)
        for (std::size_t n = 0; n < outputs; n++) {
          double sum = bias[n], size = std::fabs(bias[n]);
          for (std::size_t k = 0; k < columns; k++) {
            const double term = static_cast<double>(source.values[n * columns + k]) * x[m * stride + k];
            sum += term;
            size += std::fabs(term);
          }
          // Worst case by the chain lengths: 64 additions (and, in scalar, 64 products), columns / 64, the bias.
          const double roundings = 2 * 64 + static_cast<double>(columns) / 64 + 2;
          CHECK_NEAR(y[m * y_stride + n], sum, roundings * kUnit * size);
          // In practice rounding errors cancel: the goal of 1e-6 holds with room to spare.
          CHECK_NEAR(y[m * y_stride + n], sum, 1e-6 * size);
        }
      if (kernels != &scalar_kernels()) vector_results.push_back(y);
    }
    check_vectors_agree(vector_results);
  }
}

TEST("a row's float product depends neither on the other rows nor on the range of groups") {
  Random random(21);
  for (const WeightType type : {WeightType::f32, WeightType::f16}) {
    const std::size_t rows = 29, columns = 333, outputs = 64;
    const PackedMatrix packed = pack(type, random_matrix(type, outputs, columns, random));
    const std::vector<float> x = random.normals(rows * columns);
    for (const Kernels* kernels : available_kernels()) {
      std::vector<float> all(rows * outputs), one(outputs);
      multiply(*kernels, packed, x.data(), rows, columns, 0, packed.groups(), nullptr, all.data(), outputs);
      for (std::size_t m = 0; m < rows; m++) {
        for (std::size_t g = packed.groups(); g-- > 0;)
          multiply(*kernels, packed, x.data() + m * columns, 1, columns, g, g + 1, nullptr, one.data(), outputs);
        CHECK(same_bits(one.data(), all.data() + m * outputs, outputs));
      }
    }
  }
}

TEST("rms_norm against double, with and without the delay scale") {
  Random random(22);
  for (const std::size_t count : {1, 7, 16, 17, 63, 128, 192, 1280, 3072}) {
    const std::vector<float> x = random.normals(count, 3.0f), weight = random.normals(count),
                             g = random.normals(count, 0.2f);
    for (const bool scaled : {false, true}) {
      std::vector<std::vector<float>> vector_results;
      for (const Kernels* kernels : available_kernels()) {
        std::vector<float> y(count);
        kernels->rms_norm(x.data(), weight.data(), scaled ? g.data() : nullptr, 1e-5f, count, y.data());
        double sum = 0;
        for (const float v : x) sum += static_cast<double>(v) * v;
        const double inverse = 1 / std::sqrt(sum / static_cast<double>(count) + 1e-5f);
        for (std::size_t i = 0; i < count; i++) {
          const double expected = x[i] * inverse * weight[i] * (scaled ? 1.0 + g[i] : 1.0);
          // count / 64 positive additions per chain, five more, a root, a quotient and four products, each one unit.
          CHECK_NEAR(y[i], expected, (static_cast<double>(count) / 64 + 14) * kUnit * std::fabs(expected) + 1e-45);
        }
        if (kernels != &scalar_kernels()) vector_results.push_back(y);
      }
      check_vectors_agree(vector_results);
    }
  }
}

TEST("silu_multiply: within 8 units of the exact value from -100 to 100, finite everywhere") {
  std::vector<float> gate, up;
  for (float v = -100.0f; v <= 100.0f; v += 0.0137f) gate.push_back(v);
  for (const float v : {0.0f, -0.0f, 1e-30f, -1e-30f, 1e4f, -1e4f, 3e38f, -3e38f, -87.3f, -88.0f, -103.0f})
    gate.push_back(v);
  for (std::size_t i = 0; i < gate.size(); i++) up.push_back(i % 2 ? 1.0f : -0.5f);
  std::vector<std::vector<float>> vector_results;
  for (const Kernels* kernels : available_kernels()) {
    std::vector<float> y(gate.size());
    kernels->silu_multiply(gate.data(), up.data(), gate.size(), y.data());
    for (std::size_t i = 0; i < gate.size(); i++) {
      const double expected = gate[i] / (1 + std::exp(-static_cast<double>(gate[i]))) * up[i];
      // exp has 4 half units (2 ulp), sum, quotient and product one each. exp(-v) overflows beyond -88.7: 0 for
      // values below 1e-36 there.
      CHECK_NEAR(y[i], expected, 8 * kUnit * std::fabs(expected) + 1e-36);
    }
    if (kernels != &scalar_kernels()) vector_results.push_back(y);
  }
  check_vectors_agree(vector_results);
}

TEST("gelu: exact form within 1e-6 of the argument's size") {
  std::vector<float> x;
  for (float v = -12.0f; v <= 12.0f; v += 0.00071f) x.push_back(v);
  for (const float v : {0.0f, 1e-30f, -1e-30f, 1e4f, -1e4f, 3e38f, -3e38f, 1.41421356f, 5.6568542f}) x.push_back(v);
  std::vector<std::vector<float>> vector_results;
  for (const Kernels* kernels : available_kernels()) {
    std::vector<float> y = x;
    kernels->gelu(y.data(), y.size());
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); i++) {
      const double v = x[i], expected = 0.5 * v * (1 + std::erf(v * std::sqrt(0.5)));
      // erf is good to 2e-7; half of it, times the argument, and three roundings.
      CHECK_NEAR(y[i], expected, 3e-7 * std::fabs(v));
      if (v != 0) worst = std::max(worst, std::fabs(y[i] - expected) / std::fabs(v));
    }
    std::printf("  gelu %-13s largest error / |x| = %.2e\n", kernels->name, worst);
    if (kernels != &scalar_kernels()) vector_results.push_back(y);
  }
  check_vectors_agree(vector_results);
}

TEST("add, for every count, touching nothing beyond") {
  Random random(23);
  const std::vector<float> a = random.normals(80), b = random.normals(80);
  for (const Kernels* kernels : available_kernels())
    for (std::size_t count = 0; count <= 66; count++) {
      std::vector<float> x = a;
      kernels->add(x.data(), b.data(), count);
      for (std::size_t i = 0; i < 80; i++) CHECK_EQ(x[i], i < count ? a[i] + b[i] : a[i]);
    }
}

TEST("logit_stats against double, ties to the lowest index") {
  Random random(24);
  for (const std::size_t count : {1, 2, 15, 16, 17, 100, 2048, 4096, 4097, 50000}) {
    std::vector<float> logits = random.normals(count, 4.0f);
    if (count > 20) logits[count - 1] = logits[count / 2] = logits[count / 3] = 30.0f;
    double sum = 0;
    float max = logits[0];
    std::size_t argmax = 0;
    for (std::size_t i = 0; i < count; i++)
      if (logits[i] > max) {
        max = logits[i];
        argmax = i;
      }
    for (const float v : logits) sum += std::exp(static_cast<double>(v) - max);
    for (const Kernels* kernels : available_kernels()) {
      const LogitStats stats = kernels->logit_stats(logits.data(), count);
      CHECK_EQ(stats.max, max);
      CHECK_EQ(static_cast<std::size_t>(stats.argmax), argmax);
      // Runs of 4096 in 16 chains: 256 additions, 12 runs, 4 units of exp, one of the difference (|x - max| <= 60).
      CHECK_NEAR(stats.sum_exp, sum, (256 + 16 + 64) * kUnit * sum);
    }
  }
}

TEST("logit_stats: everything -infinity but one, and NaN never wins") {
  for (const Kernels* kernels : available_kernels()) {
    std::vector<float> logits(100, -INFINITY);
    logits[57] = -5.0f;
    LogitStats stats = kernels->logit_stats(logits.data(), logits.size());
    CHECK_EQ(stats.argmax, 57u);
    CHECK_EQ(stats.sum_exp, 1.0f);
    logits.assign(100, 1.0f);
    logits[3] = std::numeric_limits<float>::quiet_NaN();
    logits[99] = 2.0f;
    stats = kernels->logit_stats(logits.data(), logits.size());
    CHECK_EQ(stats.argmax, 99u);
    CHECK_EQ(stats.max, 2.0f);
    logits[0] = std::numeric_limits<float>::quiet_NaN();
    stats = kernels->logit_stats(logits.data(), logits.size());
    CHECK_EQ(stats.argmax, 99u);
  }
}

CHECK_MAIN()
