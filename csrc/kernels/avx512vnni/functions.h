// AVX-512 (F, BW, DQ, VL) with VNNI. Code in this folder is built for these instructions: nothing here may be called
// before registry.cc has seen that the CPU has them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace voxtral_edge::avx512vnni {

#include "kernels/kernel_functions.inc"

extern const Kernels table;

}  // namespace voxtral_edge::avx512vnni
