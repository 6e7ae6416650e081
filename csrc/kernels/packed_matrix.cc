#include "kernels/packed_matrix.h"

#include <cstring>
#include <limits>
#include <string>

#include "base/error.h"
#include "kernels/half.h"

namespace voxtral_edge {
namespace {

constexpr std::size_t kTileBlocks = kTileColumns / kBlockColumns;
constexpr std::size_t kQ4RowBytes = kBlockColumns / 2, kQ8RowBytes = kBlockColumns;  // of one row in one block

std::size_t checked_product(std::size_t a, std::size_t b) {
  if (b != 0 && a > std::numeric_limits<std::size_t>::max() / 4 / b)
    throw Error(ErrorCode::model_format, "a matrix of " + std::to_string(a) + " x " + std::to_string(b) +
                                             " elements does not fit the address space: the package is damaged");
  return a * b;
}

void check_scale(std::uint16_t scale, std::size_t row, std::size_t block) {
  const bool finite = (scale & 0x7c00u) != 0x7c00u;
  const bool negative = (scale & 0x8000u) != 0 && (scale & 0x7fffu) != 0;
  if (finite && !negative) return;
  throw Error(ErrorCode::model_format, "the scale of row " + std::to_string(row) + ", block " + std::to_string(block) +
                                           " is " + (finite ? "negative" : "not finite") +
                                           ": the package is damaged, export it again");
}

// The four nibbles of `half` to the low nibbles of four bytes, lowest first.
std::uint32_t spread_nibbles(std::uint32_t half) {
  return (half & 0xfu) | (half & 0xf0u) << 4 | (half & 0xf00u) << 8 | (half & 0xf000u) << 12;
}

// 16 bytes, low nibble = even column  ->  4 words 64 bytes apart: low nibbles columns 8i..8i+3, high 8i+4..8i+7.
void pack_q4_block(const std::uint8_t* source, std::uint8_t* block, std::size_t row) {
  for (std::size_t i = 0; i < 4; i++) {
    const std::uint8_t* s = source + 4 * i;
    const std::uint32_t word = spread_nibbles(s[0] | static_cast<std::uint32_t>(s[1]) << 8) |
                               spread_nibbles(s[2] | static_cast<std::uint32_t>(s[3]) << 8) << 4;
    std::uint8_t* d = block + 64 * i + 4 * row;
    for (std::size_t j = 0; j < 4; j++) d[j] = static_cast<std::uint8_t>(word >> (8 * j));
  }
}

void pack_q8_block(const std::uint8_t* source, std::uint8_t* block, std::size_t row) {
  for (std::size_t i = 0; i < 8; i++) std::memcpy(block + 64 * i + 4 * row, source + 4 * i, 4);
}

struct QuantizedShape {
  std::size_t row_bytes;    // of one row in one block
  std::size_t block_bytes;  // of 16 rows in one block
  std::size_t tile_bytes;
  std::uint8_t zero;  // byte that holds zero point(s)
};

QuantizedShape quantized_shape(WeightType type) {
  if (type == WeightType::q4) return {kQ4RowBytes, kQ4RowBytes * kGroupRows, kQ4TileBytes, 0x88};
  return {kQ8RowBytes, kQ8RowBytes * kGroupRows, kQ8TileBytes, 0x80};
}

// One group; rows [0, rows) come from the source, the rest is padding, as are blocks from source_blocks on.
void pack_quantized_group(WeightType type, std::uint8_t* group, std::size_t padded_blocks, std::size_t source_blocks,
                          std::size_t rows, const std::uint8_t* weights, const std::uint16_t* scales,
                          std::size_t first_row) {
  const QuantizedShape shape = quantized_shape(type);
  for (std::size_t b = 0; b < padded_blocks; b++) {
    std::uint8_t* tile = group + b / kTileBlocks * shape.tile_bytes;
    std::uint8_t* block = tile + b % kTileBlocks * shape.block_bytes;
    std::uint8_t* block_scales = tile + kTileBlocks * shape.block_bytes + b % kTileBlocks * 2 * kGroupRows;
    if (b >= source_blocks || rows < kGroupRows) {
      std::memset(block, shape.zero, shape.block_bytes);
      std::memset(block_scales, 0, 2 * kGroupRows);
    }
    if (b >= source_blocks) continue;
    for (std::size_t r = 0; r < rows; r++) {
      const std::size_t index = r * source_blocks + b;
      check_scale(scales[index], first_row + r, b);
      std::memcpy(block_scales + 2 * r, &scales[index], 2);
      const std::uint8_t* source = weights + index * shape.row_bytes;
      if (type == WeightType::q4) pack_q4_block(source, block, r);
      else pack_q8_block(source, block, r);
    }
  }
}

template <class T>
void pack_float_group(T* group, std::size_t columns, std::size_t rows, const T* weights) {
  for (std::size_t k = 0; k < columns; k++)
    for (std::size_t r = 0; r < kGroupRows; r++) group[k * kGroupRows + r] = r < rows ? weights[r * columns + k] : T{0};
}

}  // namespace

PackedMatrix::PackedMatrix(WeightType type, std::size_t rows, std::size_t columns)
    : type_(type), rows_(rows), columns_(columns) {
  if (rows == 0 || columns == 0)
    throw Error(ErrorCode::model_format, "a weight matrix has no elements: the package is damaged");
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max() / 2;  // room to round up
  checked_product(
      checked_product(rows < kMost ? rows + kGroupRows : rows, columns < kMost ? columns + kTileColumns : columns),
      sizeof(float));
  groups_ = (rows + kGroupRows - 1) / kGroupRows;
  const std::size_t tiles = (columns + kTileColumns - 1) / kTileColumns;
  switch (type) {
    case WeightType::q4:
    case WeightType::q8:
      padded_columns_ = tiles * kTileColumns;
      group_bytes_ = tiles * quantized_shape(type).tile_bytes;
      break;
    case WeightType::f16:
    case WeightType::f32:
      padded_columns_ = columns;
      group_bytes_ = columns * kGroupRows * (type == WeightType::f16 ? sizeof(std::uint16_t) : sizeof(float));
      break;
  }
  data_ = AlignedBuffer(groups_ * group_bytes_);
}

void PackedMatrix::pack_rows(std::size_t first_row, std::size_t count, const void* weights,
                             const std::uint16_t* scales) {
  const bool quantized = type_ == WeightType::q4 || type_ == WeightType::q8;
  if (first_row > rows_ || count > rows_ - first_row || first_row % kGroupRows != 0 ||
      (count % kGroupRows != 0 && first_row + count != rows_) || (quantized && scales == nullptr))
    throw Error(ErrorCode::internal, "pack_rows(" + std::to_string(first_row) + ", " + std::to_string(count) +
                                         ") of a matrix of " + std::to_string(rows_) + " rows is not whole groups");
  const std::size_t source_blocks = (columns_ + kBlockColumns - 1) / kBlockColumns;
  for (std::size_t done = 0; done < count; done += kGroupRows) {
    const std::size_t rows = count - done < kGroupRows ? count - done : kGroupRows;
    std::uint8_t* group = data_.data() + (first_row + done) / kGroupRows * group_bytes_;
    switch (type_) {
      case WeightType::q4:
      case WeightType::q8:
        pack_quantized_group(
            type_, group, padded_columns_ / kBlockColumns, source_blocks, rows,
            static_cast<const std::uint8_t*>(weights) + done * source_blocks * quantized_shape(type_).row_bytes,
            scales + done * source_blocks, first_row + done);
        break;
      case WeightType::f16:
        pack_float_group(reinterpret_cast<std::uint16_t*>(group), columns_, rows,
                         static_cast<const std::uint16_t*>(weights) + done * columns_);
        break;
      case WeightType::f32:
        pack_float_group(reinterpret_cast<float*>(group), columns_, rows,
                         static_cast<const float*>(weights) + done * columns_);
        break;
    }
  }
}

void PackedMatrix::unpack_row(std::size_t row, float* out) const {
  if (row >= rows_)
    throw Error(ErrorCode::internal,
                "row " + std::to_string(row) + " of a matrix of " + std::to_string(rows_) + " rows was asked for");
  const std::uint8_t* group = data_.data() + row / kGroupRows * group_bytes_;
  const std::size_t r = row % kGroupRows;
  for (std::size_t k = 0; k < columns_; k++) {
    if (type_ == WeightType::f32) {
      std::memcpy(&out[k], group + (k * kGroupRows + r) * sizeof(float), sizeof(float));
      continue;
    }
    if (type_ == WeightType::f16) {
      std::uint16_t half = 0;
      std::memcpy(&half, group + (k * kGroupRows + r) * sizeof half, sizeof half);
      out[k] = float_from_half(half);
      continue;
    }
    const QuantizedShape shape = quantized_shape(type_);
    const std::uint8_t* tile = group + k / kTileColumns * shape.tile_bytes;
    const std::size_t b = k / kBlockColumns % kTileBlocks, c = k % kBlockColumns;
    std::uint16_t scale = 0;
    std::memcpy(&scale, tile + kTileBlocks * shape.block_bytes + (b * kGroupRows + r) * sizeof scale, sizeof scale);
    const std::uint8_t* block = tile + b * shape.block_bytes;
    int value = 0;
    if (type_ == WeightType::q4) {
      const std::uint8_t byte = block[c / 8 * 64 + r * 4 + c % 4];
      value = (c % 8 < 4 ? byte & 15 : byte >> 4) - 8;
    } else {
      value = block[c / 4 * 64 + r * 4 + c % 4] - 128;
    }
    out[k] = static_cast<float>(value) * float_from_half(scale);
  }
}

}  // namespace voxtral_edge
