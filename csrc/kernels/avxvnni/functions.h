// AVX2 with the VEX-encoded int8 dot product that client cores have instead of AVX-512 (Alder Lake and N100 on). Only
// the integer products differ from avx2; everything else is taken from there.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace voxtral_edge::avxvnni {

void matmul_q4(const std::uint8_t* weights, const QuantizedRows& x, std::size_t rows, std::size_t group_begin,
               std::size_t group_end, const float* bias, float* y, std::size_t y_stride);
void matmul_q8(const std::uint8_t* weights, const QuantizedRows& x, std::size_t rows, std::size_t group_begin,
               std::size_t group_end, const float* bias, float* y, std::size_t y_stride);
std::uint64_t integer_work(std::size_t repeats);

extern const Kernels table;

}  // namespace voxtral_edge::avxvnni
