// The two things that GCC and Clang must be told in their own words.
#pragma once

// A vector of several registers that crosses a call goes through memory (8 x slower exp on AVX2): never leave it to the
// compiler's estimate.
#define VOXTRAL_EDGE_INLINE __attribute__((always_inline))

// Unrolls the next loop completely, so that the arrays it indexes become registers.
#if defined(__clang__)
#define VOXTRAL_EDGE_UNROLL _Pragma("clang loop unroll(full)")
#else
#define VOXTRAL_EDGE_UNROLL _Pragma("GCC unroll 16")
#endif
