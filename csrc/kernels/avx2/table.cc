#include "kernels/avx2/functions.h"

namespace voxtral_edge::avx2 {

const Kernels table = {
    .name = "avx2",
    .description = "256-bit vectors: AVX2, FMA, F16C (x86-64 since 2013)",
#include "kernels/kernel_table.inc"
};

}  // namespace voxtral_edge::avx2
