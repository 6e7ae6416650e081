// No kernel reads or writes outside its arguments: every array lies against a page that traps, first at its end, then
// at its begin. A violation ends the process with SIGSEGV, which the test runner reports as a failure.
#include <vector>

#include "check.h"
#include "kernels_support.h"

using namespace voxtral_edge;
using namespace voxtral_edge::test;

namespace {

using At = GuardedMemory::At;

// An array of T in guarded memory, copied from a vector.
template <class T>
class Guarded {
 public:
  Guarded(std::size_t count, At at) : memory_(count * sizeof(T), at) {}
  Guarded(const std::vector<T>& source, At at) : Guarded(source.size(), at) {
    if (!source.empty()) std::memcpy(memory_.as<T>(), source.data(), source.size() * sizeof(T));
  }
  operator T*() const { return memory_.as<T>(); }

 private:
  GuardedMemory memory_;
};

void check_quantized(const Kernels& kernels, At at, Random& random) {
  for (int round = 0; round < 24; round++) {
    const WeightType type = round % 2 ? WeightType::q4 : WeightType::q8;
    const std::size_t rows = random.between(1, 20), columns = random.between(1, 200), outputs = random.between(1, 40);
    const PackedMatrix packed = pack(type, random_matrix(type, outputs, columns, random));
    const std::size_t padded = packed.padded_columns(), blocks = rows * padded / kBlockColumns;
    const std::vector<std::uint8_t> bytes(packed.data(), packed.data() + packed.bytes());
    const Guarded<std::uint8_t> weights(bytes, at);
    const Guarded<float> x(random.normals(rows * columns), at), bias(random.normals(packed.padded_rows()), at);
    const Guarded<float> y(rows * packed.padded_rows(), at);
    // Scales and sums need 64-byte alignment only at their begin.
    const Guarded<std::int8_t> values(rows * padded, at);
    const Guarded<float> scales(round_up(blocks, at == At::end ? 16 : 1), at);
    const Guarded<std::int32_t> sums(round_up(blocks, at == At::end ? 16 : 1), at);
    const QuantizedRows q{values, scales, sums, padded};
    kernels.quantize_rows(x, rows, columns, columns, q);
    (type == WeightType::q4 ? kernels.matmul_q4 : kernels.matmul_q8)(weights, q, rows, 0, packed.groups(), bias, y,
                                                                     packed.padded_rows());
    CHECK(y[0] == y[0]);
  }
}

void check_float_products(const Kernels& kernels, At at, Random& random) {
  for (int round = 0; round < 24; round++) {
    const WeightType type = round % 2 ? WeightType::f32 : WeightType::f16;
    const std::size_t rows = random.between(1, 20), columns = random.between(1, 300), outputs = random.between(1, 40);
    const PackedMatrix packed = pack(type, random_matrix(type, outputs, columns, random));
    const std::vector<std::uint8_t> bytes(packed.data(), packed.data() + packed.bytes());
    const Guarded<std::uint8_t> weights(bytes, at);
    const Guarded<float> x(random.normals(rows * columns), at), bias(random.normals(packed.padded_rows()), at);
    const Guarded<float> y(rows * packed.padded_rows(), at);
    const std::uint8_t* w = weights;
    if (type == WeightType::f32)
      kernels.matmul_f32(reinterpret_cast<const float*>(w), columns, x, rows, columns, 0, packed.groups(), bias, y,
                         packed.padded_rows());
    else
      kernels.matmul_f16(reinterpret_cast<const std::uint16_t*>(w), columns, x, rows, columns, 0, packed.groups(), bias,
                         y, packed.padded_rows());
    CHECK(y[0] == y[0]);
  }
}

void check_elementwise(const Kernels& kernels, At at, Random& random) {
  for (std::size_t count = 1; count <= 70; count++) {
    const Guarded<float> a(random.normals(count), at), b(random.normals(count), at), g(random.normals(count), at);
    const Guarded<float> y(count, at);
    const Guarded<std::uint16_t> half(count, at);
    kernels.rms_norm(a, b, g, 1e-5f, count, y);
    kernels.rms_norm(a, b, nullptr, 1e-5f, count, y);
    kernels.silu_multiply(a, b, count, y);
    kernels.gelu(y, count);
    kernels.add(y, a, count);
    kernels.to_f16(a, count, half);
    kernels.from_f16(half, count, y);
    const LogitStats stats = kernels.logit_stats(a, count);
    CHECK(stats.argmax < count && stats.sum_exp >= 1.0f);
  }
}

void check_attention(const Kernels& kernels, At at, Random& random) {
  for (int round = 0; round < 60; round++) {
    const KvType type = round % 3 == 0 ? KvType::f32 : round % 3 == 1 ? KvType::f16 : KvType::i8;
    const std::size_t size = type == KvType::f32 ? 4 : type == KvType::f16 ? 2 : 1;
    const std::size_t head_dim = 16 * random.between(1, 8), queries = random.between(1, 6);
    const std::size_t rows = random.between(1, 20), window = random.between(1, 200);
    const std::size_t slots = round_up(window - 1 + rows, kKvBlock), scales = slots * ((head_dim + 31) / 32);
    const Guarded<std::uint8_t> keys(slots * head_dim * size, at), values(slots * head_dim * size, at);
    const Guarded<float> key_scales(scales, at), value_scales(scales, at);
    const Guarded<float> q(random.normals(rows * queries * head_dim), at), out(rows * queries * head_dim, at);
    const Guarded<float> scratch(attention_scratch_floats(head_dim), at);
    const KvHead ring{keys, values, key_scales, value_scales, slots, type};
    kernels.attend(ring, {q, rows, queries, head_dim, random.below(1000), 0, window, 0.1f}, scratch, out);
    CHECK(out[0] == 0.0f);  // all values are zero
  }
}

}  // namespace

TEST("no kernel leaves its arrays") {
  for (const Kernels* kernels : available_kernels())
    for (const At at : {At::end, At::begin}) {
      Random random(40);
      check_quantized(*kernels, at, random);
      check_float_products(*kernels, at, random);
      check_elementwise(*kernels, at, random);
      check_attention(*kernels, at, random);
      std::printf("  %s, arrays at the %s of a page: fine\n", kernels->name, at == At::end ? "end" : "begin");
    }
}

CHECK_MAIN()
