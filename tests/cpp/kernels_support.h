// Shared by the kernel tests: repeatable random data, memory between guard pages, packed random matrices.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/half.h"
#include "kernels/kernels.h"
#include "kernels/packed_matrix.h"
#include "kernels/registry.h"

namespace voxtral_edge::test {

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  std::size_t below(std::size_t end) { return engine_() % end; }
  std::size_t between(std::size_t first, std::size_t last) { return first + below(last - first + 1); }
  float normal() { return normal_(engine_); }
  std::vector<float> normals(std::size_t count, float scale = 1.0f) {
    std::vector<float> out(count);
    for (float& v : out) v = scale * normal();
    return out;
  }
  std::uint8_t byte() { return static_cast<std::uint8_t>(engine_()); }

 private:
  std::mt19937_64 engine_;
  std::normal_distribution<float> normal_;
};

// `bytes` of memory that ends (or begins) exactly at a page that traps. 64-byte aligned when placed at the begin,
// or when bytes is a multiple of 64.
class GuardedMemory {
 public:
  enum class At { begin, end };

  GuardedMemory(std::size_t bytes, At at) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t length = (bytes + page - 1) / page * page;
    mapped_ = length + 2 * page;
    base_ = static_cast<std::uint8_t*>(mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED || (length > 0 && mprotect(base_ + page, length, PROT_READ | PROT_WRITE) != 0))
      throw std::runtime_error("no guarded memory");
    data_ = base_ + page + (at == At::end ? length - bytes : 0);
  }
  ~GuardedMemory() { munmap(base_, mapped_); }
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  std::uint8_t* base_ = nullptr;
  std::uint8_t* data_ = nullptr;
  std::size_t mapped_ = 0;
};

// Package-layout weights and what they stand for.
struct SourceMatrix {
  std::size_t rows, columns;
  std::vector<std::uint8_t> bytes;  // q4, q8, or the bytes of f16 / f32
  std::vector<std::uint16_t> scales;
  std::vector<float> values;  // [rows][columns]
};

inline SourceMatrix random_matrix(WeightType type, std::size_t rows, std::size_t columns, Random& random) {
  SourceMatrix m{rows, columns, {}, {}, std::vector<float>(rows * columns)};
  const std::size_t blocks = (columns + kBlockColumns - 1) / kBlockColumns;
  if (type == WeightType::f32 || type == WeightType::f16) {
    const std::size_t size = type == WeightType::f32 ? 4 : 2;
    m.bytes.resize(rows * columns * size);
    for (std::size_t i = 0; i < rows * columns; i++) {
      const float value = random.normal();
      const std::uint16_t half = half_from_float(value);
      m.values[i] = type == WeightType::f32 ? value : float_from_half(half);
      if (type == WeightType::f32) std::memcpy(&m.bytes[i * 4], &value, 4);
      else std::memcpy(&m.bytes[i * 2], &half, 2);
    }
    return m;
  }
  const bool q4 = type == WeightType::q4;
  m.bytes.assign(rows * blocks * (q4 ? 16 : 32), q4 ? 0x88 : 0x80);
  m.scales.resize(rows * blocks);
  for (std::uint16_t& s : m.scales) s = half_from_float(0.001f + 0.05f * static_cast<float>(random.byte()) / 255.0f);
  for (std::size_t r = 0; r < rows; r++)
    for (std::size_t k = 0; k < columns; k++) {
      const std::size_t block = r * blocks + k / kBlockColumns, c = k % kBlockColumns;
      int q = 0;
      if (q4) {
        q = static_cast<int>(random.below(16)) - 8;
        std::uint8_t& byte = m.bytes[block * 16 + c / 2];
        byte = static_cast<std::uint8_t>(c % 2 ? (byte & 0x0f) | (q + 8) << 4 : (byte & 0xf0) | (q + 8));
      } else {
        q = static_cast<int>(random.below(256)) - 128;
        m.bytes[block * 32 + c] = static_cast<std::uint8_t>(q + 128);
      }
      m.values[r * columns + k] = static_cast<float>(q) * float_from_half(m.scales[block]);
    }
  return m;
}

inline PackedMatrix pack(WeightType type, const SourceMatrix& m) {
  PackedMatrix packed(type, m.rows, m.columns);
  packed.pack_rows(0, m.rows, m.bytes.data(), m.scales.empty() ? nullptr : m.scales.data());
  return packed;
}

// QuantizedRows with memory of its own.
class QuantizedBuffer {
 public:
  QuantizedBuffer(std::size_t rows, std::size_t padded_columns)
      : values_(rows * padded_columns),
        scales_(rows * padded_columns / kBlockColumns * 4 + 64),
        sums_(rows * padded_columns / kBlockColumns * 4 + 64) {
    rows_ = {values_.as<std::int8_t>(), scales_.as<float>(), sums_.as<std::int32_t>(), padded_columns};
  }
  const QuantizedRows& rows() const { return rows_; }

 private:
  AlignedBuffer values_, scales_, sums_;
  QuantizedRows rows_;
};

inline const Kernels& scalar_kernels() { return kernels_by_name("scalar"); }

// Every implementation but scalar that this CPU runs.
inline std::vector<const Kernels*> vector_kernels() {
  std::vector<const Kernels*> out = available_kernels();
  out.pop_back();
  return out;
}

inline bool same_bits(const float* a, const float* b, std::size_t count) {
  return std::memcmp(a, b, count * sizeof(float)) == 0;
}

inline std::size_t round_up(std::size_t value, std::size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace voxtral_edge::test
