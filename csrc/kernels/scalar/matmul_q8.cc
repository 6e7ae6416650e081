#include "kernels/scalar/block_product.h"
#include "kernels/scalar/functions.h"

namespace voxtral_edge::scalar {
namespace {

struct Format {
  static constexpr std::size_t kBlockBytes = kGroupRows * kBlockColumns, kTileBytes = kQ8TileBytes;
  static constexpr std::int32_t kZeroPoint = 128;

  static void block_dots(const std::uint8_t* block, const std::int8_t* x, std::int32_t* dots) {
    for (std::size_t r = 0; r < kGroupRows; r++) {
      std::int32_t dot = 0;
      for (std::size_t i = 0; i < 8; i++)
        for (std::size_t j = 0; j < 4; j++) dot += block[i * 64 + r * 4 + j] * x[i * 4 + j];
      dots[r] = dot;
    }
  }
};

}  // namespace

void matmul_q8(const std::uint8_t* weights, const QuantizedRows& x, std::size_t rows, std::size_t group_begin,
               std::size_t group_end, const float* bias, float* y, std::size_t y_stride) {
  block_matmul<Format>(weights, x, rows, group_begin, group_end, bias, y, y_stride);
}

}  // namespace voxtral_edge::scalar
