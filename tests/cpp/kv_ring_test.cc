// Ring arithmetic and attention over the ring against naive references, over thousands of wraps.
#include "model/kv_ring.h"

#include <cmath>
#include <vector>

#include "check.h"
#include "engine_testing.h"
#include "kernels/registry.h"
#include "kv_ring_testing.h"

namespace voxtral_edge {
namespace {

constexpr std::size_t kLayers = 2, kHeads = 3, kHeadDim = 5;

// A number that tells position, layer, head and lane apart and is exact in half precision (below 2048).
float mark_of(std::uint64_t position, std::size_t layer, std::size_t head, std::size_t lane, bool value) {
  return static_cast<float>((position * 37 + layer * 401 + head * 131 + lane * 7 + (value ? 911 : 0)) % 2039);
}

void write_position(KvRing& ring, std::uint64_t position) {
  float key[kHeadDim], value[kHeadDim];
  for (std::size_t layer = 0; layer < kLayers; ++layer) {
    for (std::size_t head = 0; head < kHeads; ++head) {
      for (std::size_t lane = 0; lane < kHeadDim; ++lane) {
        key[lane] = mark_of(position, layer, head, lane, false);
        value[lane] = mark_of(position, layer, head, lane, true);
      }
      ring.write(active_kernels(), layer, head, position, key, value);
    }
  }
}

// The ring must still hold max(first, position - window + 1) .. position.
bool window_is_right(const KvRing& ring, std::uint64_t first, std::uint64_t position, std::size_t window) {
  const std::uint64_t seen = std::min<std::uint64_t>(position - first + 1, window);
  const float tolerance = ring.type() == KvType::i8 ? 2039.0f / 254.0f + 0.01f : 0.0f;  // half a step of the largest
  for (std::size_t layer = 0; layer < kLayers; ++layer) {
    for (std::size_t head = 0; head < kHeads; ++head) {
      const check::RingReader reader(ring, layer, head);
      for (std::uint64_t p = position + 1 - seen; p <= position; ++p) {
        for (std::size_t lane = 0; lane < ring.head_dim_padded(); ++lane) {
          const bool real = lane < kHeadDim;  // the padding must be zero: kernels multiply it
          const float key = real ? mark_of(p, layer, head, lane, false) : 0.0f;
          const float value = real ? mark_of(p, layer, head, lane, true) : 0.0f;
          if (!(std::fabs(reader.key(p, lane) - key) <= (real ? tolerance : 0.0f))) return false;
          if (!(std::fabs(reader.value(p, lane) - value) <= (real ? tolerance : 0.0f))) return false;
        }
      }
    }
  }
  return true;
}

}  // namespace

TEST("tiny windows, many wraps, single steps and passes of many rows") {
  for (const std::size_t window : {1, 2, 3, 4, 5, 7, 20}) {
    for (const std::size_t slack : {1, 2, 4, 64}) {
      for (const KvType type : {KvType::f32, KvType::f16, KvType::i8}) {
        for (const std::uint64_t first : {std::uint64_t{0}, std::uint64_t{3}, (std::uint64_t{1} << 32) - 50}) {
          KvRing ring({kLayers, kHeads, kHeadDim, window, slack, type});
          CHECK(ring.slots() >= window - 1 + slack && ring.slots() % kKvBlock == 0);
          ring.reset(first);
          check::Numbers numbers(window * 100 + slack);
          std::uint64_t next = first;
          const std::uint64_t end = first + 700;
          while (next < end) {
            const std::uint64_t rows = 1 + numbers.below(slack);  // all rows of a pass are written before any is read
            for (std::uint64_t r = 0; r < rows; ++r) write_position(ring, next + r);
            bool right = true;
            for (std::uint64_t r = 0; r < rows; ++r) right = right && window_is_right(ring, first, next + r, window);
            CHECK(right);
            next += rows;
          }
        }
      }
    }
  }
}

TEST("after taking positions back and writing others, nothing of the first remains") {
  const std::size_t window = 5, slack = 8;
  KvRing ring({kLayers, kHeads, kHeadDim, window, slack, KvType::f32});
  ring.reset(0);
  const std::vector<float> wrong(kHeadDim, 1e9f);
  for (std::uint64_t position = 0; position < 500; ++position) {
    for (std::uint64_t draft = 0; draft < slack; ++draft) {
      for (std::size_t layer = 0; layer < kLayers; ++layer) {
        for (std::size_t head = 0; head < kHeads; ++head)
          ring.write(active_kernels(), layer, head, position + draft, wrong.data(), wrong.data());
      }
    }
    write_position(ring, position);
    CHECK(window_is_right(ring, 0, position, window));
  }
}

TEST("reset hides everything older, at any position") {
  KvRing ring({kLayers, kHeads, kHeadDim, 7, 4, KvType::f32});
  for (const std::uint64_t first : {std::uint64_t{0}, std::uint64_t{5}, std::uint64_t{1} << 40, std::uint64_t{6}}) {
    ring.reset(first);
    for (std::uint64_t position = first; position < first + 30; ++position) {
      write_position(ring, position);
      CHECK(window_is_right(ring, first, position, 7));
    }
  }
}

TEST("attention over the ring equals naive attention over the window, every kernel set") {
  constexpr std::size_t head_dim = 16, queries = 2;
  const float scale = 0.25f;
  for (const Kernels* kernels : available_kernels()) {
    for (const std::size_t window : {1, 3, 4, 5, 7}) {
      KvRing ring({1, 1, head_dim, window, 2, KvType::f32});
      ring.reset(0);
      check::Numbers numbers(window);
      std::vector<std::vector<float>> keys, values;
      std::vector<float> scratch(attention_scratch_floats(head_dim)), out(queries * head_dim);
      for (std::uint64_t position = 0; position < 300 * window; ++position) {
        std::vector<float> key(head_dim), value(head_dim), query(queries * head_dim);
        for (auto* v : {&key, &value, &query}) {
          for (float& f : *v) f = numbers.between(-2.0f, 2.0f);
        }
        ring.write(*kernels, 0, 0, position, key.data(), value.data());
        keys.push_back(key);
        values.push_back(value);
        const AttentionRows in{query.data(), 1, queries, head_dim, position, ring.first_position(), window, scale};
        kernels->attend(ring.head(0, 0), in, scratch.data(), out.data());
        const std::size_t first = position + 1 > window ? static_cast<std::size_t>(position + 1 - window) : 0;
        for (std::size_t q = 0; q < queries; ++q) {
          std::vector<double> weights;
          double total = 0.0;
          for (std::size_t p = first; p <= position; ++p) {
            double dot = 0.0;
            for (std::size_t i = 0; i < head_dim; ++i) dot += static_cast<double>(query[q * head_dim + i]) * keys[p][i];
            weights.push_back(std::exp(dot * scale));
            total += weights.back();
          }
          for (std::size_t i = 0; i < head_dim; ++i) {
            double expected = 0.0;
            for (std::size_t p = first; p <= position; ++p) expected += weights[p - first] / total * values[p][i];
            CHECK_NEAR(out[q * head_dim + i], expected, 1e-5);
          }
        }
      }
    }
  }
}

TEST("int8 rounds to the nearest step of each 32 numbers, and what is not finite stays visible") {
  constexpr std::size_t head_dim = 80;
  for (const Kernels* kernels : available_kernels()) {
    KvRing ring({1, 2, head_dim, 7, 4, KvType::i8});
    ring.reset(0);
    check::Numbers numbers(5);
    std::vector<float> key(head_dim), value(head_dim);
    for (std::size_t i = 0; i < head_dim; ++i) {
      key[i] = numbers.between(-1.0f, 1.0f) * (i < 32 ? 100.0f : 1e-3f);  // a large number costs only its 32 accuracy
      value[i] = numbers.between(-1.0f, 1.0f);
    }
    key[3] = 100.0f;
    key[40] = -1e-3f;
    ring.write(*kernels, 0, 1, 12, key.data(), value.data());
    const check::RingReader reader(ring, 0, 1);
    for (std::size_t i = 0; i < head_dim; ++i) {
      CHECK_NEAR(reader.key(12, i), key[i], (i < 32 ? 100.0f : 1e-3f) / 253.9f);
      CHECK_NEAR(reader.value(12, i), value[i], 1.0f / 253.9f);
    }
    CHECK_EQ(reader.key(12, 3), 100.0f);
    value[33] = INFINITY;
    ring.write(*kernels, 0, 1, 12, key.data(), value.data());
    CHECK(!std::isfinite(reader.value(12, 33)) && !std::isfinite(reader.value(12, 63)));
    CHECK(std::isfinite(reader.value(12, 31)) && std::isfinite(reader.value(12, 64)));
  }
}

TEST("f16 ends at its largest number, and what is not finite stays visible") {
  constexpr std::size_t head_dim = 80;
  for (const Kernels* kernels : available_kernels()) {
    KvRing ring({1, 1, head_dim, 7, 4, KvType::f16});
    ring.reset(0);
    std::vector<float> key(head_dim), value(head_dim);
    for (std::size_t i = 0; i < head_dim; ++i) {
      key[i] = (i % 2 == 0 ? 60000.0f : -60000.0f) + 160.0f * static_cast<float>(i);
      value[i] = i == 70 ? 1e30f : -key[i];
    }
    key[5] = INFINITY;
    value[6] = -INFINITY;
    value[7] = NAN;
    ring.write(*kernels, 0, 0, 12, key.data(), value.data());
    const check::RingReader reader(ring, 0, 0);
    std::uint64_t beyond = 0;
    for (const auto* v : {&key, &value})
      for (const float x : *v) beyond += std::isfinite(x) && std::fabs(x) >= 65520.0f;
    CHECK(beyond > 20);
    CHECK_EQ(ring.saturated(), beyond);
    for (std::size_t i = 0; i < head_dim; ++i) {
      if (std::isfinite(key[i])) {
        CHECK_NEAR(reader.key(12, i), std::fmax(-65504.0f, std::fmin(65504.0f, key[i])), 16.0f);
      }
      if (std::isfinite(value[i])) {
        CHECK_NEAR(reader.value(12, i), std::fmax(-65504.0f, std::fmin(65504.0f, value[i])), 16.0f);
      }
    }
    CHECK_EQ(reader.key(12, 5), INFINITY);
    CHECK_EQ(reader.value(12, 6), -INFINITY);
    CHECK(std::isnan(reader.value(12, 7)));
    KvRing other({1, 1, head_dim, 7, 4, KvType::f16});
    other.copy(ring, 13);
    CHECK_EQ(other.saturated(), beyond);
    other.reset(0);
    CHECK_EQ(other.saturated(), 0u);
  }
}

TEST("a ring that is taken for full holds the same small number everywhere, if a window came before") {
  for (const KvType type : {KvType::f32, KvType::f16, KvType::i8}) {
    KvRing ring({2, 2, 5, 150, 3, type});
    ring.reset(149);
    CHECK_THROWS_CODE(ring.assume_full(), ErrorCode::usage);
    ring.reset(150);
    ring.assume_full();
    CHECK_EQ(ring.first_position(), 0u);
    for (std::size_t lh = 0; lh < 4; ++lh) {
      const check::RingReader reader(ring, lh / 2, lh % 2);
      for (std::uint64_t p = 0; p < 150; ++p) {
        for (std::size_t d = 0; d < 5; ++d) CHECK(reader.key(p, d) == 0x1p-6f && reader.value(p, d) == 0x1p-6f);
      }
    }
  }
}

TEST("bytes of a ring: one per number and a scale per 32 with int8, two with f16, four with f32") {
  const auto bytes = [](KvType type) { return KvRingShape{3, 2, 128, 8192, 64, type}.bytes(); };
  const std::size_t numbers = 2 * 3 * 2 * 128 * 8256;  // 8255 slots rounded up to blocks of 64
  CHECK_EQ(bytes(KvType::f32), 4 * numbers);
  CHECK_EQ(bytes(KvType::f16), 2 * numbers);
  CHECK_EQ(bytes(KvType::i8), numbers + numbers / 8);
}

}  // namespace voxtral_edge

CHECK_MAIN()
