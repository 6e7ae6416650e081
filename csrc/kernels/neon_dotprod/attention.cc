#include "kernels/shared/attention.h"

#include "kernels/neon_dotprod/functions.h"
#include "kernels/neon_dotprod/vector16.h"

namespace voxtral_edge::neon_dotprod {

void attend(const KvHead& ring, const AttentionRows& rows, float* scratch, float* out) {
  shared::attend<Vector16>(ring, rows, scratch, out);
}

}  // namespace voxtral_edge::neon_dotprod
