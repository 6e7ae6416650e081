#include "kernels/neon_dotprod/functions.h"

namespace voxtral_edge::neon_dotprod {

const Kernels table = {
    .name = "neon_dotprod",
    .description = "NEON with int8 dot products: Armv8.2 and later, Raspberry Pi 5, Apple, Jetson",
#include "kernels/kernel_table.inc"
};

}  // namespace voxtral_edge::neon_dotprod
