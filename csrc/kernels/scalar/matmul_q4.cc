#include "kernels/scalar/block_product.h"
#include "kernels/scalar/functions.h"

namespace voxtral_edge::scalar {
namespace {

struct Format {
  static constexpr std::size_t kBlockBytes = kGroupRows * kBlockColumns / 2, kTileBytes = kQ4TileBytes;
  static constexpr std::int32_t kZeroPoint = 8;

  static void block_dots(const std::uint8_t* block, const std::int8_t* x, std::int32_t* dots) {
    for (std::size_t r = 0; r < kGroupRows; r++) {
      std::int32_t dot = 0;
      for (std::size_t i = 0; i < 4; i++)
        for (std::size_t j = 0; j < 4; j++) {
          const std::uint8_t byte = block[i * 64 + r * 4 + j];
          dot += (byte & 15) * x[i * 8 + j] + (byte >> 4) * x[i * 8 + 4 + j];
        }
      dots[r] = dot;
    }
  }
};

}  // namespace

void matmul_q4(const std::uint8_t* weights, const QuantizedRows& x, std::size_t rows, std::size_t group_begin,
               std::size_t group_end, const float* bias, float* y, std::size_t y_stride) {
  block_matmul<Format>(weights, x, rows, group_begin, group_end, bias, y, y_stride);
}

}  // namespace voxtral_edge::scalar
