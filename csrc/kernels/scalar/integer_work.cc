#include "kernels/scalar/functions.h"

namespace voxtral_edge::scalar {

// Whatever the compiler makes of a dot product of cached bytes.
std::uint64_t integer_work(std::size_t repeats) {
  constexpr std::size_t kCount = 1024;
  std::int8_t weights[kCount], activations[kCount];
  for (std::size_t j = 0; j < kCount; j++) {
    weights[j] = 3;
    activations[j] = 5;
  }
  for (std::size_t i = 0; i < repeats; i++) {
    __asm__ volatile("" : : "r"(weights), "r"(activations) : "memory");  // new values, as far as the compiler knows
    std::int32_t sum = 0;
    for (std::size_t j = 0; j < kCount; j++) sum += weights[j] * activations[j];
    __asm__ volatile("" : : "r"(sum));
  }
  return std::uint64_t{kCount} * repeats;
}

}  // namespace voxtral_edge::scalar
