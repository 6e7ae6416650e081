// AVX2 with FMA and F16C. Code in this folder is built for these instructions: nothing here may be called before
// registry.cc has seen that the CPU has them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace voxtral_edge::avx2 {

#include "kernels/kernel_functions.inc"

extern const Kernels table;

}  // namespace voxtral_edge::avx2
