#include "kernels/shared/attention.h"

#include "kernels/neon_dotprod/functions.h"
#include "kernels/neon_dotprod/vector16.h"

namespace voxtral_edge::neon_dotprod {

void attend(const float* q, std::size_t queries, std::size_t head_dim, const KvSegment* segments,
            std::size_t segment_count, KvType type, float scale, float* scratch, float* out) {
  shared::attend<Vector16>(q, queries, head_dim, segments, segment_count, type, scale, scratch, out);
}

}  // namespace voxtral_edge::neon_dotprod
