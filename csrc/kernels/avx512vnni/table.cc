#include "kernels/avx512vnni/functions.h"

namespace voxtral_edge::avx512vnni {

const Kernels table = {
    .name = "avx512vnni",
    .description = "512-bit vectors with int8 dot products: AVX-512 F, BW, DQ, VL, VNNI",
#include "kernels/kernel_table.inc"
};

}  // namespace voxtral_edge::avx512vnni
