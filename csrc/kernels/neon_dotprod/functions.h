// NEON with the dot product instructions of Armv8.2. Code in this folder is built for these instructions: nothing here
// may be called before registry.cc has seen that the CPU has them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace voxtral_edge::neon_dotprod {

#include "kernels/kernel_functions.inc"

extern const Kernels table;

}  // namespace voxtral_edge::neon_dotprod
