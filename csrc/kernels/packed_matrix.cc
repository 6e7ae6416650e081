#include "kernels/packed_matrix.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

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

bool is_valid_scale(std::uint16_t scale) {
  return (scale & 0x7c00u) != 0x7c00u && scale <= 0x8000u;  // finite, and not negative (minus zero is zero)
}

// scales [rows][blocks], row 0 being first_row of the matrix. One pass without branches; only a damaged package is
// searched for the culprit.
void check_scales(const std::uint16_t* scales, std::size_t rows, std::size_t blocks, std::size_t first_row) {
  unsigned invalid = 0;
  for (std::size_t i = 0; i < rows * blocks; i++) invalid |= is_valid_scale(scales[i]) ? 0u : 1u;
  if (invalid == 0) return;
  const std::uint16_t* found = std::find_if_not(scales, scales + rows * blocks, is_valid_scale);
  const std::size_t index = static_cast<std::size_t>(found - scales);
  const bool finite = (*found & 0x7c00u) != 0x7c00u;
  throw Error(ErrorCode::model_format, "the scale of row " + std::to_string(first_row + index / blocks) + ", block " +
                                           std::to_string(index % blocks) + " is " +
                                           (finite ? "negative" : "not finite") +
                                           ": the package is damaged, export it again");
}

// Four 32-bit words: the compiler's portable vectors, SSE2 and NEON alike. Loading is bound by this permutation: word
// by word it took 0.4 of the 1.3 s of an int4 load (2.5 GB, 2 threads).
using Words = std::uint32_t __attribute__((vector_size(16)));

Words load_words(const std::uint8_t* source) {
  Words words;
  std::memcpy(&words, source, sizeof words);
  return words;
}

#if defined(__clang__)
Words zip_low(Words a, Words b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
Words zip_high(Words a, Words b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
#else
Words zip_low(Words a, Words b) { return __builtin_shuffle(a, b, Words{0, 4, 1, 5}); }
Words zip_high(Words a, Words b) { return __builtin_shuffle(a, b, Words{2, 6, 3, 7}); }
#endif

// Nibbles of each word, lowest first, from columns 0 1 2 3 4 5 6 7 to 0 4 1 5 2 6 3 7.
Words interleave_nibbles(Words words) {
  Words swapped = (words ^ words >> 8) & 0x0000ff00u;
  words ^= swapped ^ swapped << 8;
  swapped = (words ^ words >> 4) & 0x00f000f0u;
  return words ^ swapped ^ swapped << 4;
}

// One block of 16 rows: word i of row r goes to byte i*64 + r*4, as the layout says.
template <WeightType type>
void pack_block(const std::uint8_t* const (&rows)[kGroupRows], std::uint8_t* block) {
  constexpr std::size_t kRowWords = (type == WeightType::q4 ? kQ4RowBytes : kQ8RowBytes) / 4;
  for (std::size_t r = 0; r < kGroupRows; r += 4) {
    for (std::size_t i = 0; i < kRowWords; i += 4) {
      const Words a = load_words(rows[r] + 4 * i), b = load_words(rows[r + 1] + 4 * i);
      const Words c = load_words(rows[r + 2] + 4 * i), d = load_words(rows[r + 3] + 4 * i);
      const Words ac0 = zip_low(a, c), bd0 = zip_low(b, d), ac1 = zip_high(a, c), bd1 = zip_high(b, d);
      const Words columns[4] = {zip_low(ac0, bd0), zip_high(ac0, bd0), zip_low(ac1, bd1), zip_high(ac1, bd1)};
      for (std::size_t j = 0; j < 4; j++) {
        const Words out = type == WeightType::q4 ? interleave_nibbles(columns[j]) : columns[j];
        std::memcpy(block + 64 * (i + j) + 4 * r, &out, sizeof out);
      }
    }
  }
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
template <WeightType type>
void pack_quantized_group(std::uint8_t* group, std::size_t padded_blocks, std::size_t source_blocks, std::size_t rows,
                          const std::uint8_t* weights, const std::uint16_t* scales) {
  const QuantizedShape shape = quantized_shape(type);
  std::uint8_t padding[kQ8RowBytes];
  std::memset(padding, shape.zero, sizeof padding);
  const std::uint8_t* sources[kGroupRows];
  for (std::size_t b = 0; b < padded_blocks; b++) {
    std::uint8_t* tile = group + b / kTileBlocks * shape.tile_bytes;
    std::uint8_t* block = tile + b % kTileBlocks * shape.block_bytes;
    std::uint16_t block_scales[kGroupRows] = {};
    for (std::size_t r = 0; r < kGroupRows; r++) {
      const bool padded = r >= rows || b >= source_blocks;
      sources[r] = padded ? padding : weights + (r * source_blocks + b) * shape.row_bytes;
      if (!padded) block_scales[r] = scales[r * source_blocks + b];
    }
    pack_block<type>(sources, block);
    std::memcpy(tile + kTileBlocks * shape.block_bytes + b % kTileBlocks * sizeof block_scales, block_scales,
                sizeof block_scales);
  }
}

template <class T>
void pack_float_group(T* group, std::size_t columns, std::size_t rows, const T* weights) {
  for (std::size_t k = 0; k < columns; k++)
    for (std::size_t r = 0; r < kGroupRows; r++) group[k * kGroupRows + r] = r < rows ? weights[r * columns + k] : T{0};
}

}  // namespace

PackedMatrix::PackedMatrix(WeightType type, std::size_t rows, std::size_t columns) {
  set_shape(type, rows, columns);
  data_ = AlignedBuffer(bytes());
}

PackedMatrix::PackedMatrix(WeightType type, std::size_t rows, std::size_t columns,
                           std::shared_ptr<const std::uint8_t> packed)
    : mapped_(std::move(packed)) {
  set_shape(type, rows, columns);
}

std::size_t PackedMatrix::bytes_of(WeightType type, std::size_t rows, std::size_t columns) {
  PackedMatrix shape;
  shape.set_shape(type, rows, columns);
  return shape.bytes();
}

void PackedMatrix::set_shape(WeightType type, std::size_t rows, std::size_t columns) {
  if (rows == 0 || columns == 0)
    throw Error(ErrorCode::model_format, "a weight matrix has no elements: the package is damaged");
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max() / 2;  // room to round up
  checked_product(
      checked_product(rows < kMost ? rows + kGroupRows : rows, columns < kMost ? columns + kTileColumns : columns),
      sizeof(float));
  type_ = type, rows_ = rows, columns_ = columns;
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
}

void PackedMatrix::pack_rows(std::size_t first_row, std::size_t count, const void* weights,
                             const std::uint16_t* scales) {
  const bool quantized = type_ == WeightType::q4 || type_ == WeightType::q8;
  if (mapped_ || first_row > rows_ || count > rows_ - first_row || first_row % kGroupRows != 0 ||
      (count % kGroupRows != 0 && first_row + count != rows_) || (quantized && scales == nullptr))
    throw Error(ErrorCode::internal, "pack_rows(" + std::to_string(first_row) + ", " + std::to_string(count) +
                                         ") of a matrix of " + std::to_string(rows_) + " rows is not whole groups");
  const std::size_t source_blocks = (columns_ + kBlockColumns - 1) / kBlockColumns;
  if (quantized) check_scales(scales, count, source_blocks, first_row);
  const auto* bytes = static_cast<const std::uint8_t*>(weights);
  for (std::size_t done = 0; done < count; done += kGroupRows) {
    const std::size_t rows = count - done < kGroupRows ? count - done : kGroupRows;
    std::uint8_t* group = data_.data() + (first_row + done) / kGroupRows * group_bytes_;
    const std::size_t blocks = padded_columns_ / kBlockColumns, first_block = done * source_blocks;
    switch (type_) {
      case WeightType::q4:
        pack_quantized_group<WeightType::q4>(group, blocks, source_blocks, rows, bytes + first_block * kQ4RowBytes,
                                             scales + first_block);
        break;
      case WeightType::q8:
        pack_quantized_group<WeightType::q8>(group, blocks, source_blocks, rows, bytes + first_block * kQ8RowBytes,
                                             scales + first_block);
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
  const std::uint8_t* group = data() + row / kGroupRows * group_bytes_;
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
