// quantize_rows, matmul_q4, matmul_q8: bit-exact against scalar, scalar against a plain double product, and
// independence of the number of rows and the range of groups.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "check.h"
#include "kernels_support.h"

using namespace voxtral_edge;
using namespace voxtral_edge::test;

namespace {

using Product = void (*)(const std::uint8_t*, const QuantizedRows&, std::size_t, std::size_t, std::size_t, const float*,
                         float*, std::size_t);

Product product(const Kernels& kernels, WeightType type) {
  return type == WeightType::q4 ? kernels.matmul_q4 : kernels.matmul_q8;
}

bool same_quantized(const QuantizedRows& a, const QuantizedRows& b, std::size_t rows) {
  const std::size_t blocks = rows * a.padded_columns / kBlockColumns;
  return std::memcmp(a.values, b.values, rows * a.padded_columns) == 0 && same_bits(a.scales, b.scales, blocks) &&
         std::memcmp(a.sums, b.sums, blocks * sizeof(std::int32_t)) == 0;
}

// Activations that try the extremes: all +-absmax (largest sums), zeros, one spike, tiny and huge values.
std::vector<float> awkward_rows(std::size_t rows, std::size_t columns, Random& random) {
  std::vector<float> x = random.normals(rows * columns);
  for (std::size_t m = 0; m < rows; m++)
    for (std::size_t k = 0; k < columns; k++) {
      float& v = x[m * columns + k];
      switch (m % 7) {
        case 1:
          v = 3.0f;
          break;
        case 2:
          v = k % 2 ? -3.0f : 3.0f;
          break;
        case 3:
          v = 0.0f;
          break;
        case 4:
          v = k % 50 == 0 ? 1000.0f : v * 1e-3f;
          break;
        case 5:
          v *= k % 64 < 32 ? 1e-35f : 1e30f;
          break;
        default:
          break;
      }
    }
  return x;
}

}  // namespace

TEST("quantize_rows follows its definition") {
  Random random(10);
  const std::size_t rows = 14, columns = 100, padded = 128;
  const std::vector<float> x = awkward_rows(rows, columns, random);
  for (const Kernels* kernels : available_kernels()) {
    QuantizedBuffer buffer(rows, padded);
    kernels->quantize_rows(x.data(), rows, columns, columns, buffer.rows());
    for (std::size_t m = 0; m < rows; m++)
      for (std::size_t b = 0; b < padded / 32; b++) {
        float absmax = 0;
        for (std::size_t k = b * 32; k < b * 32 + 32 && k < columns; k++)
          absmax = std::max(absmax, std::fabs(x[m * columns + k]));
        if (absmax < 0x1p-100f) absmax = 0;
        std::int32_t sum = 0;
        for (std::size_t k = b * 32; k < b * 32 + 32; k++) {
          const float scaled = absmax > 0 && k < columns ? x[m * columns + k] * (127.0f / absmax) : 0.0f;
          CHECK_EQ(static_cast<int>(buffer.rows().values[m * padded + k]), static_cast<int>(std::nearbyint(scaled)));
          sum += buffer.rows().values[m * padded + k];
        }
        CHECK_EQ(buffer.rows().scales[m * padded / 32 + b], absmax / 127.0f);
        CHECK_EQ(buffer.rows().sums[m * padded / 32 + b], sum);
      }
  }
}

TEST("quantize_rows is bit-exact for random shapes") {
  Random random(11);
  for (int round = 0; round < 60; round++) {
    const std::size_t rows = random.between(1, 9), columns = random.between(1, 300), stride = columns + random.below(5);
    std::vector<float> x = awkward_rows(rows, stride, random);
    const std::size_t padded = round_up(columns, kTileColumns);
    QuantizedBuffer expected(rows, padded);
    scalar_kernels().quantize_rows(x.data(), rows, columns, stride, expected.rows());
    for (const Kernels* kernels : vector_kernels()) {
      QuantizedBuffer got(rows, padded);
      std::memset(got.rows().values, 0x55, rows * padded);  // padding must be cleared, not left
      kernels->quantize_rows(x.data(), rows, columns, stride, got.rows());
      CHECK(same_quantized(got.rows(), expected.rows(), rows));
    }
  }
}

TEST("a block counts as zero below 2^-100, and from there on as what it is") {
  for (const Kernels* kernels : available_kernels())
    for (const float largest : {std::nextafter(0x1p-100f, 0.0f), 0x1p-100f}) {
      std::vector<float> x(32, largest / 2);
      x[9] = -largest;
      QuantizedBuffer got(1, 64);
      kernels->quantize_rows(x.data(), 1, 32, 32, got.rows());
      CHECK_EQ(got.rows().scales[0], largest < 0x1p-100f ? 0.0f : largest / 127.0f);
      CHECK_EQ(static_cast<int>(got.rows().values[9]), largest < 0x1p-100f ? 0 : -127);
    }
}

TEST("non-finite activations stay visible: values 0, scale not finite") {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()})
    for (const Kernels* kernels : available_kernels()) {
      std::vector<float> x(96, 1.0f);
      x[37] = bad;
      QuantizedBuffer got(1, 128);
      kernels->quantize_rows(x.data(), 1, 96, 96, got.rows());
      CHECK_EQ(got.rows().scales[0], 1.0f / 127.0f);
      CHECK(!std::isfinite(got.rows().scales[1]));
      CHECK_EQ(got.rows().sums[1], 0);
      for (std::size_t k = 32; k < 64; k++) CHECK_EQ(static_cast<int>(got.rows().values[k]), 0);
      CHECK_EQ(static_cast<int>(got.rows().values[64]), 127);
    }
}

TEST("scalar q4 and q8 against a product in double") {
  Random random(12);
  for (const WeightType type : {WeightType::q4, WeightType::q8}) {
    const std::size_t rows = 3, columns = 200, outputs = 40;
    const SourceMatrix source = random_matrix(type, outputs, columns, random);
    const PackedMatrix packed = pack(type, source);
    const std::vector<float> x = random.normals(rows * columns), bias = random.normals(packed.padded_rows());
    QuantizedBuffer q(rows, packed.padded_columns());
    scalar_kernels().quantize_rows(x.data(), rows, columns, columns, q.rows());
    std::vector<float> y(rows * packed.padded_rows());
    product(scalar_kernels(), type)(packed.data(), q.rows(), rows, 0, packed.groups(), bias.data(), y.data(),
                                    packed.padded_rows());
    for (std::size_t m = 0; m < rows; m++)
      for (std::size_t n = 0; n < outputs; n++) {
        double sum = bias[n], size = std::fabs(bias[n]);
        for (std::size_t k = 0; k < columns; k++) {
          const double a = static_cast<double>(q.rows().values[m * packed.padded_columns() + k]) *
                           q.rows().scales[(m * packed.padded_columns() + k) / 32];
          sum += a * source.values[n * columns + k];
          size += std::fabs(a * source.values[n * columns + k]);
        }
        // 8 blocks, one fused rounding each, one of the scales' product each, and the bias: < 20 units of 2^-24.
        CHECK_NEAR(y[m * packed.padded_rows() + n], sum, 20 * 0x1p-24 * size);
      }
  }
}

TEST("q4 and q8 are bit-exact against scalar for random shapes, rows and group ranges") {
  Random random(13);
  for (int round = 0; round < 80; round++) {
    const WeightType type = round % 2 ? WeightType::q4 : WeightType::q8;
    const std::size_t rows = round < 40 ? static_cast<std::size_t>(round) + 1 : random.between(1, 100);
    const std::size_t columns = random.between(1, 260), outputs = random.between(1, 80);
    const PackedMatrix packed = pack(type, random_matrix(type, outputs, columns, random));
    const std::size_t padded = packed.padded_columns(), stride = packed.padded_rows() + random.below(3);
    const std::vector<float> x = awkward_rows(rows, columns, random), bias = random.normals(packed.padded_rows());
    const float* used_bias = round % 3 ? bias.data() : nullptr;
    const std::size_t begin = random.below(packed.groups()), end = random.between(begin, packed.groups());
    QuantizedBuffer q(rows, padded);
    scalar_kernels().quantize_rows(x.data(), rows, columns, columns, q.rows());
    std::vector<float> expected(rows * stride, 77.0f);
    product(scalar_kernels(), type)(packed.data(), q.rows(), rows, begin, end, used_bias, expected.data(), stride);
    for (const Kernels* kernels : vector_kernels()) {
      std::vector<float> got(rows * stride, 77.0f);
      product(*kernels, type)(packed.data(), q.rows(), rows, begin, end, used_bias, got.data(), stride);
      CHECK(same_bits(got.data(), expected.data(), got.size()));
    }
  }
}

TEST("q4 and q8 are bit-exact for every number of rows, across chunks of columns") {
  Random random(15);
  const std::size_t most = 33;
  for (const WeightType type : {WeightType::q4, WeightType::q8})
    for (const std::size_t columns : {63, 512, 577, 1057}) {  // kernels take 512 columns at a time
      const std::size_t outputs = 41;
      const PackedMatrix packed = pack(type, random_matrix(type, outputs, columns, random));
      const std::size_t stride = packed.padded_rows() + 1;
      const std::vector<float> x = awkward_rows(most, columns, random), bias = random.normals(packed.padded_rows());
      QuantizedBuffer q(most, packed.padded_columns());
      scalar_kernels().quantize_rows(x.data(), most, columns, columns, q.rows());
      std::vector<float> expected(most * stride, 77.0f);
      product(scalar_kernels(), type)(packed.data(), q.rows(), most, 0, packed.groups(), bias.data(), expected.data(),
                                      stride);
      for (const Kernels* kernels : vector_kernels())
        for (std::size_t rows = 1; rows <= most; rows++) {
          std::vector<float> got(most * stride, 77.0f);
          product(*kernels, type)(packed.data(), q.rows(), rows, 0, packed.groups(), bias.data(), got.data(), stride);
          CHECK(same_bits(got.data(), expected.data(), rows * stride));
          CHECK(std::all_of(got.begin() + static_cast<std::ptrdiff_t>(rows * stride), got.end(),
                            [](float v) { return v == 77.0f; }));
        }
    }
}

TEST("largest possible sums do not saturate") {
  for (const WeightType type : {WeightType::q4, WeightType::q8})
    for (const std::uint8_t byte : {0x00, 0x0f, 0xf0, 0xff, 0x01, 0x7f, 0x80})
      for (const float sign : {1.0f, -1.0f}) {
        const std::size_t columns = 64;
        SourceMatrix source{16, columns, {}, std::vector<std::uint16_t>(32, half_from_float(1.0f)), {}};
        source.bytes.assign(16 * columns / (type == WeightType::q4 ? 2 : 1), byte);
        const PackedMatrix packed = pack(type, source);
        const std::size_t rows = 2;
        const std::vector<float> x(rows * columns, 127.0f * sign);
        QuantizedBuffer q(rows, columns);
        scalar_kernels().quantize_rows(x.data(), rows, columns, columns, q.rows());
        const int even = type == WeightType::q4 ? (byte & 15) - 8 : byte - 128;
        const int odd = type == WeightType::q4 ? (byte >> 4) - 8 : byte - 128;
        for (const Kernels* kernels : available_kernels())
          for (std::size_t count = 1; count <= rows; count++) {
            std::vector<float> y(16 * count);
            product(*kernels, type)(packed.data(), q.rows(), count, 0, 1, nullptr, y.data(), 16);
            for (const float v : y) CHECK_EQ(v, 127.0f * sign * 32.0f * static_cast<float>(even + odd));
          }
      }
}

TEST("a row's result depends neither on the other rows nor on the range of groups") {
  Random random(14);
  for (const WeightType type : {WeightType::q4, WeightType::q8}) {
    const std::size_t rows = 37, columns = 192, outputs = 96;
    const PackedMatrix packed = pack(type, random_matrix(type, outputs, columns, random));
    const std::vector<float> x = random.normals(rows * columns);
    for (const Kernels* kernels : available_kernels()) {
      QuantizedBuffer q(rows, columns);
      kernels->quantize_rows(x.data(), rows, columns, columns, q.rows());
      std::vector<float> all(rows * outputs);
      product(*kernels, type)(packed.data(), q.rows(), rows, 0, packed.groups(), nullptr, all.data(), outputs);
      for (std::size_t m = 0; m < rows; m++) {
        QuantizedBuffer single(1, columns);
        kernels->quantize_rows(x.data() + m * columns, 1, columns, columns, single.rows());
        std::vector<float> one(outputs);
        for (std::size_t g = 0; g < packed.groups(); g++)
          product(*kernels, type)(packed.data(), single.rows(), 1, g, g + 1, nullptr, one.data(), outputs);
        CHECK(same_bits(one.data(), all.data() + m * outputs, outputs));
      }
    }
  }
}

CHECK_MAIN()
