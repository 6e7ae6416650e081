#include "kernels/shared/matmul_float.h"

#include "kernels/avx2/functions.h"
#include "kernels/avx2/vector16.h"

namespace voxtral_edge::avx2 {

void matmul_f16(const std::uint16_t* weights, std::size_t columns, const float* x, std::size_t rows,
                std::size_t x_stride, std::size_t group_begin, std::size_t group_end, const float* bias, float* y,
                std::size_t y_stride) {
  shared::matmul_float<Vector16>(weights, columns, x, rows, x_stride, group_begin, group_end, bias, y, y_stride);
}

void matmul_f32(const float* weights, std::size_t columns, const float* x, std::size_t rows, std::size_t x_stride,
                std::size_t group_begin, std::size_t group_end, const float* bias, float* y, std::size_t y_stride) {
  shared::matmul_float<Vector16>(weights, columns, x, rows, x_stride, group_begin, group_end, bias, y, y_stride);
}

}  // namespace voxtral_edge::avx2
