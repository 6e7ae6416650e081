// One digest per kernel, the same on every architecture and compiler: x86 and Arm transcribe alike, bit for bit.
// The inputs come from integer arithmetic only, so that no library's random numbers or rounding enters.
#include <cstdint>
#include <string>
#include <vector>

#include "attention_support.h"
#include "check.h"

using namespace voxtral_edge;
using namespace voxtral_edge::test;

namespace {

// Numbers in [-2, 2) with 16 random bits.
class Numbers {
 public:
  float next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<float>(state_ >> 48) * 0x1p-14f - 2.0f;
  }
  std::vector<float> many(std::size_t count) {
    std::vector<float> out(count);
    for (float& v : out) v = next();
    return out;
  }
  std::uint8_t byte() { return static_cast<std::uint8_t>(static_cast<int>(next() * 64.0f) + 128); }

 private:
  std::uint64_t state_ = 1;
};

// FNV-1a over the bits.
std::string digest(const std::vector<float>& values) {
  std::uint64_t hash = 14695981039346656037u;
  for (const float v : values) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &v, sizeof bits);
    for (int i = 0; i < 4; i++) hash = (hash ^ (bits >> (8 * i) & 255u)) * 1099511628211u;
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

std::vector<float> quantized_product(const Kernels& kernels, WeightType type) {
  const std::size_t rows = 5, columns = 200, outputs = 48, blocks = 7;
  Numbers numbers;
  SourceMatrix source{outputs, columns, {}, {}, {}};
  for (std::size_t i = 0; i < outputs * blocks * (type == WeightType::q4 ? 16 : 32); i++)
    source.bytes.push_back(numbers.byte());
  for (std::size_t i = 0; i < outputs * blocks; i++)
    source.scales.push_back(static_cast<std::uint16_t>(0x2000 + numbers.byte()));
  const PackedMatrix packed = pack(type, source);
  const std::vector<float> x = numbers.many(rows * columns), bias = numbers.many(outputs);
  QuantizedBuffer q(rows, packed.padded_columns());
  kernels.quantize_rows(x.data(), rows, columns, columns, q.rows());
  std::vector<float> y(rows * outputs);
  (type == WeightType::q4 ? kernels.matmul_q4 : kernels.matmul_q8)(packed.data(), q.rows(), rows, 0, packed.groups(),
                                                                   bias.data(), y.data(), outputs);
  return y;
}

std::vector<float> float_product(const Kernels& kernels) {
  const std::size_t rows = 7, columns = 300, outputs = 32;
  Numbers numbers;
  const std::vector<float> weights = numbers.many(outputs * columns), x = numbers.many(rows * columns);
  std::vector<float> y(2 * rows * outputs);
  kernels.matmul_f32(weights.data(), columns, x.data(), rows, columns, 0, 2, nullptr, y.data(), outputs);
  std::vector<std::uint16_t> halves(weights.size());
  kernels.to_f16(weights.data(), weights.size(), halves.data());
  kernels.matmul_f16(halves.data(), columns, x.data(), rows, columns, 0, 2, nullptr, y.data() + rows * outputs,
                     outputs);
  return y;
}

std::vector<float> elementwise(const Kernels& kernels) {
  const std::size_t count = 1003;
  Numbers numbers;
  std::vector<float> x = numbers.many(count), y(4 * count + 2);
  for (std::size_t i = 0; i < count; i++) x[i] *= static_cast<float>(i % 12);  // -22 to 22
  const std::vector<float> w = numbers.many(count), g = numbers.many(count);
  kernels.rms_norm(x.data(), w.data(), g.data(), 1e-5f, count, y.data());
  kernels.silu_multiply(x.data(), w.data(), count, y.data() + count);
  for (std::size_t i = 0; i < count; i++) y[2 * count + i] = y[3 * count + i] = x[i] * 0.25f;
  kernels.gelu(y.data() + 2 * count, count);
  kernels.add(y.data() + 3 * count, w.data(), count);
  const LogitStats stats = kernels.logit_stats(x.data(), count);
  y[4 * count] = stats.sum_exp;
  y[4 * count + 1] = static_cast<float>(stats.argmax);
  return y;
}

std::vector<float> attention(const Kernels& kernels, KvType type) {
  const std::size_t window = 600, head_dim = 128, queries = 5, rows = 3;
  Numbers numbers;
  const std::vector<float> q = numbers.many(rows * queries * head_dim);
  TestRing ring(type, head_dim, 640);
  for (std::uint64_t p = 401; p < 1003; p++) {
    const std::vector<float> key = numbers.many(head_dim);
    ring.write(p, key, numbers.many(head_dim));
  }
  return attend(kernels, ring, {q.data(), rows, queries, head_dim, 1000, 0, window, 0.05f});
}

}  // namespace

TEST("quantised products have the same bits everywhere, scalar included") {
  for (const Kernels* kernels : available_kernels()) {
    CHECK_EQ(digest(quantized_product(*kernels, WeightType::q4)), std::string("f7262a6abe049864"));
    CHECK_EQ(digest(quantized_product(*kernels, WeightType::q8)), std::string("1aa78f0abe7701c7"));
  }
}

TEST("float kernels have the same bits on every vector instruction set") {
  for (const Kernels* kernels : vector_kernels()) {
    CHECK_EQ(digest(float_product(*kernels)), std::string("cc56d3bb5657223c"));
    CHECK_EQ(digest(elementwise(*kernels)), std::string("54f28754a4e0ca5e"));
    CHECK_EQ(digest(attention(*kernels, KvType::f32)), std::string("c4b541303b1cf5bd"));
    CHECK_EQ(digest(attention(*kernels, KvType::f16)), std::string("7f4679a6eaa93918"));
    CHECK_EQ(digest(attention(*kernels, KvType::i8)), std::string("1881633b74d49515"));
  }
}

CHECK_MAIN()
