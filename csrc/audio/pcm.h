// Samples as recorders deliver them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace voxtral_edge {

// 16-bit PCM to floats in [-1, 1): divided by 32768 (spec 3.1), exact. `out` has room for all.
inline void pcm16_to_float(std::span<const std::int16_t> pcm, float* out) {
  for (std::size_t i = 0; i < pcm.size(); ++i) out[i] = static_cast<float>(pcm[i]) / 32768.0f;
}

}  // namespace voxtral_edge
