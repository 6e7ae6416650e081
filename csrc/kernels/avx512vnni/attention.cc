#include "kernels/shared/attention.h"

#include "kernels/avx512vnni/functions.h"
#include "kernels/avx512vnni/vector16.h"

namespace voxtral_edge::avx512vnni {

void attend(const KvHead& ring, const AttentionRows& rows, float* scratch, float* out) {
  shared::attend<Vector16>(ring, rows, scratch, out);
}

}  // namespace voxtral_edge::avx512vnni
