// Portable implementation: the reference the others are tested against, and the fallback for every CPU.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace voxtral_edge::scalar {

#include "kernels/kernel_functions.inc"

extern const Kernels table;

}  // namespace voxtral_edge::scalar
