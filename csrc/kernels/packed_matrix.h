// A weight matrix [rows, columns] in the row-interleaved layout that every instruction set shares.
//
// Rows are taken in groups of 16 (padded with zero rows). Within a group:
//   q4   tiles of 16 rows x 64 columns, 576 B: two blocks of 256 B, then 16 fp16 scales of each block.
//        In a block, byte i*64 + r*4 + j (i < 4, r < 16, j < 4) holds column i*8 + j in its low nibble and
//        column i*8 + 4 + j in its high nibble, as value + 8.
//   q8   tiles of 1088 B: two blocks of 512 B (byte i*64 + r*4 + j, i < 8, is column i*4 + j, value + 128), scales.
//   f16, f32   [columns][16].
// Columns of q4/q8 are padded to 64 with the zero point and scale 0.
// Why: one 64-byte load gives 4 columns of 16 rows, so a dot-product instruction accumulates 16 rows at once
// without any horizontal sum, and one activation value is a broadcast; 16 rows of activations reuse each load.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/aligned_buffer.h"
#include "kernels/kernels.h"

namespace voxtral_edge {

enum class WeightType { f32, f16, q8, q4 };

// Changes whenever the bytes of a packed matrix do: files of permuted weights (model/packed_cache.h) are then made
// again. A test compares a packed matrix with a stored checksum.
inline constexpr std::uint32_t kPackedLayoutVersion = 1;

class PackedMatrix {
 public:
  PackedMatrix() = default;
  // Allocates (huge pages where allowed) for a matrix; contents are set by pack_rows.
  PackedMatrix(WeightType type, std::size_t rows, std::size_t columns);
  // A matrix that was packed before and lies elsewhere (a mapped file), 64-byte aligned; the pointer keeps it there.
  PackedMatrix(WeightType type, std::size_t rows, std::size_t columns, std::shared_ptr<const std::uint8_t> packed);
  // Bytes of a packed matrix of this shape. Error(model_format) if it is empty or does not fit the address space.
  static std::size_t bytes_of(WeightType type, std::size_t rows, std::size_t columns);

  WeightType type() const { return type_; }
  std::size_t rows() const { return rows_; }
  std::size_t columns() const { return columns_; }
  std::size_t groups() const { return groups_; }
  std::size_t padded_rows() const { return groups_ * kGroupRows; }
  std::size_t padded_columns() const { return padded_columns_; }  // q4/q8: multiple of 64; else == columns
  std::size_t group_bytes() const { return group_bytes_; }
  const std::uint8_t* data() const { return mapped_ ? mapped_.get() : data_.data(); }
  std::size_t bytes() const { return groups_ * group_bytes_; }

  // Packs source rows [first_row, first_row + count) given in the package's layout, tightly packed:
  //   q4 weights uint8 [count][ceil(K/32)][16], q8 uint8 [count][ceil(K/32)][32], scales fp16 [count][ceil(K/32)];
  //   f16 uint16 [count][K], f32 float [count][K], scales null.
  // first_row must be a multiple of 16, and count too unless it reaches the last row. Thread-safe for disjoint ranges.
  // Not for a mapped matrix. Error(model_format) when a scale is NaN, infinite or negative (names the row and block).
  void pack_rows(std::size_t first_row, std::size_t count, const void* weights, const std::uint16_t* scales);

  // out[columns] = row as float (embedding lookup of a tied table).
  void unpack_row(std::size_t row, float* out) const;

 private:
  void set_shape(WeightType type, std::size_t rows, std::size_t columns);
  WeightType type_ = WeightType::f32;
  std::size_t rows_ = 0, columns_ = 0, groups_ = 0, padded_columns_ = 0, group_bytes_ = 0;
  AlignedBuffer data_;
  std::shared_ptr<const std::uint8_t> mapped_;  // instead of data_
};

}  // namespace voxtral_edge
