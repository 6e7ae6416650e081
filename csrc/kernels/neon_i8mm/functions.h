// NEON with the 8-bit matrix products of Armv8.6 (i8mm). Only the integer products of two and more activation rows
// differ from neon_dotprod; everything else is taken from there.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace voxtral_edge::neon_i8mm {

void matmul_q4(const std::uint8_t* weights, const QuantizedRows& x, std::size_t rows, std::size_t group_begin,
               std::size_t group_end, const float* bias, float* y, std::size_t y_stride);
void matmul_q8(const std::uint8_t* weights, const QuantizedRows& x, std::size_t rows, std::size_t group_begin,
               std::size_t group_end, const float* bias, float* y, std::size_t y_stride);
std::uint64_t integer_work(std::size_t repeats);

extern const Kernels table;

}  // namespace voxtral_edge::neon_i8mm
