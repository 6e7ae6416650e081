// PackedMatrix: pack then unpack gives the source values back, and damaged sources are refused.
#include "kernels/packed_matrix.h"

#include <vector>

#include "check.h"
#include "kernels_support.h"

using namespace voxtral_edge;
using namespace voxtral_edge::test;

TEST("pack and unpack round trip for every type and awkward shapes") {
  Random random(1);
  for (const WeightType type : {WeightType::f32, WeightType::f16, WeightType::q8, WeightType::q4})
    for (const std::size_t rows : {1, 15, 16, 17, 48})
      for (const std::size_t columns : {1, 31, 32, 33, 64, 96, 130}) {
        const SourceMatrix source = random_matrix(type, rows, columns, random);
        const PackedMatrix packed = pack(type, source);
        CHECK_EQ(packed.padded_rows() % kGroupRows, std::size_t{0});
        CHECK(packed.bytes() == packed.groups() * packed.group_bytes());
        std::vector<float> row(columns);
        for (std::size_t r = 0; r < rows; r++) {
          packed.unpack_row(r, row.data());
          CHECK(same_bits(row.data(), source.values.data() + r * columns, columns));
        }
      }
}

TEST("packing in pieces equals packing at once") {
  Random random(2);
  for (const WeightType type : {WeightType::f32, WeightType::f16, WeightType::q8, WeightType::q4}) {
    const std::size_t rows = 53, columns = 70, blocks = 3;
    const SourceMatrix source = random_matrix(type, rows, columns, random);
    const PackedMatrix whole = pack(type, source);
    PackedMatrix pieces(type, rows, columns);
    const std::size_t row_bytes = source.bytes.size() / rows;
    for (const auto& [first, count] : {std::pair<std::size_t, std::size_t>{32, 21}, {0, 16}, {16, 16}})
      pieces.pack_rows(first, count, source.bytes.data() + first * row_bytes,
                       source.scales.empty() ? nullptr : source.scales.data() + first * blocks);
    CHECK(std::memcmp(whole.data(), pieces.data(), whole.bytes()) == 0);
  }
}

TEST("sizes of the layout") {
  const PackedMatrix q4(WeightType::q4, 17, 65), q8(WeightType::q8, 16, 64), f16(WeightType::f16, 1, 7);
  CHECK_EQ(q4.groups(), std::size_t{2});
  CHECK_EQ(q4.padded_columns(), std::size_t{128});
  CHECK_EQ(q4.group_bytes(), std::size_t{2 * 576});
  CHECK_EQ(q8.bytes(), std::size_t{1088});
  CHECK_EQ(f16.bytes(), std::size_t{7 * 16 * 2});
}

TEST("scales that are NaN, infinite or negative are refused, naming row and block") {
  Random random(3);
  for (const WeightType type : {WeightType::q8, WeightType::q4})
    for (const std::uint16_t bad : {0x7e00, 0x7c01, 0xfe00, 0x7c00, 0xfc00, 0xbc00, 0x8001}) {
      SourceMatrix source = random_matrix(type, 20, 96, random);
      source.scales[18 * 3 + 2] = bad;
      CHECK_THROWS_CODE(pack(type, source), ErrorCode::model_format);
      try {
        pack(type, source);
      } catch (const Error& e) {
        CHECK(std::string(e.what()).find("row 18, block 2") != std::string::npos);
      }
    }
}

TEST("the row that is named counts from the matrix's first, wherever its piece begins") {
  PackedMatrix matrix(WeightType::q8, 48, 32);
  const std::vector<std::uint8_t> bytes(16 * 32, 0x80);
  std::vector<std::uint16_t> scales(16, half_from_float(1.0f));
  scales[3] = 0x7e00;
  try {
    matrix.pack_rows(32, 16, bytes.data(), scales.data());
    CHECK(false);
  } catch (const Error& e) {
    CHECK(std::string(e.what()).find("row 35, block 0") != std::string::npos);
  }
}

TEST("zero scales of either sign, subnormal and largest scales are accepted") {
  Random random(4);
  for (const std::uint16_t good : {0x0000, 0x8000, 0x0001, 0x7bff}) {
    SourceMatrix source = random_matrix(WeightType::q4, 16, 32, random);
    source.scales[5] = good;
    std::vector<float> row(32);
    pack(WeightType::q4, source).unpack_row(5, row.data());
    const int first = (source.bytes[5 * 16] & 15) - 8;
    CHECK_EQ(row[0], static_cast<float>(first) * float_from_half(good));
  }
}

TEST("impossible shapes and partial groups are refused") {
  CHECK_THROWS_CODE(PackedMatrix(WeightType::q4, 0, 32), ErrorCode::model_format);
  CHECK_THROWS_CODE(PackedMatrix(WeightType::f32, 32, 0), ErrorCode::model_format);
  CHECK_THROWS_CODE(PackedMatrix(WeightType::f32, std::size_t{1} << 40, std::size_t{1} << 40), ErrorCode::model_format);
  CHECK_THROWS_CODE(PackedMatrix(WeightType::q4, SIZE_MAX, SIZE_MAX), ErrorCode::model_format);
  CHECK_THROWS_CODE(PackedMatrix(WeightType::q8, SIZE_MAX - 8, 1), ErrorCode::model_format);
  PackedMatrix m(WeightType::f32, 40, 4);
  const std::vector<float> source(40 * 4);
  CHECK_THROWS_CODE(m.pack_rows(8, 16, source.data(), nullptr), ErrorCode::internal);
  CHECK_THROWS_CODE(m.pack_rows(0, 8, source.data(), nullptr), ErrorCode::internal);
  CHECK_THROWS_CODE(m.pack_rows(32, 16, source.data(), nullptr), ErrorCode::internal);
  CHECK_THROWS_CODE(m.pack_rows(48, 0, source.data(), nullptr), ErrorCode::internal);
  std::vector<float> row(4);
  CHECK_THROWS_CODE(m.unpack_row(40, row.data()), ErrorCode::internal);
}

CHECK_MAIN()
