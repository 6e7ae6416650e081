#include "kernels/shared/attention.h"

#include "kernels/avx2/functions.h"
#include "kernels/avx2/vector16.h"

namespace voxtral_edge::avx2 {

void attend(const KvHead& ring, const AttentionRows& rows, float* scratch, float* out) {
  shared::attend<Vector16>(ring, rows, scratch, out);
}

}  // namespace voxtral_edge::avx2
