#include "kernels/scalar/functions.h"

namespace voxtral_edge::scalar {

const Kernels table = {
    .name = "scalar",
    .description = "portable C++, any CPU",
#include "kernels/kernel_table.inc"
};

}  // namespace voxtral_edge::scalar
