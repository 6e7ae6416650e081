#include "kernels/neon_dotprod/functions.h"
#include "kernels/neon_i8mm/functions.h"

namespace voxtral_edge::neon_i8mm {

const Kernels table = {
    .name = "neon_i8mm",
    .description =
        "NEON with 8-bit matrix products: Armv8.6 and later, Graviton 3 and 4, Grace, Jetson Thor, Apple from M2 on",
    .quantize_rows = &neon_dotprod::quantize_rows,
    .matmul_q4 = &matmul_q4,
    .matmul_q8 = &matmul_q8,
    .matmul_f16 = &neon_dotprod::matmul_f16,
    .matmul_f32 = &neon_dotprod::matmul_f32,
    .rms_norm = &neon_dotprod::rms_norm,
    .silu_multiply = &neon_dotprod::silu_multiply,
    .gelu = &neon_dotprod::gelu,
    .add = &neon_dotprod::add,
    .attend = &neon_dotprod::attend,
    .to_f16 = &neon_dotprod::to_f16,
    .from_f16 = &neon_dotprod::from_f16,
    .logit_stats = &neon_dotprod::logit_stats,
    .integer_work = &integer_work,
};

}  // namespace voxtral_edge::neon_i8mm
