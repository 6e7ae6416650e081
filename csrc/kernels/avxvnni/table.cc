#include "kernels/avx2/functions.h"
#include "kernels/avxvnni/functions.h"

namespace voxtral_edge::avxvnni {

const Kernels table = {
    .name = "avxvnni",
    .description = "256-bit vectors with int8 dot products: AVX2, FMA, F16C, AVX-VNNI",
    .quantize_rows = &avx2::quantize_rows,
    .matmul_q4 = &matmul_q4,
    .matmul_q8 = &matmul_q8,
    .matmul_f16 = &avx2::matmul_f16,
    .matmul_f32 = &avx2::matmul_f32,
    .rms_norm = &avx2::rms_norm,
    .silu_multiply = &avx2::silu_multiply,
    .gelu = &avx2::gelu,
    .add = &avx2::add,
    .attend = &avx2::attend,
    .to_f16 = &avx2::to_f16,
    .from_f16 = &avx2::from_f16,
    .logit_stats = &avx2::logit_stats,
    .integer_work = &integer_work,
};

}  // namespace voxtral_edge::avxvnni
