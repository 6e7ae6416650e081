// What GCC and Clang must be told in their own words.
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
// Nothing becomes a register where every access is checked, and GCC 12 needs 3 minutes for an unrolled attention.cc.
#define VOXTRAL_EDGE_INLINE
#define VOXTRAL_EDGE_UNROLL
#else

// A vector of several registers that crosses a call goes through memory (8 x slower exp on AVX2): never leave it to the
// compiler's estimate.
#define VOXTRAL_EDGE_INLINE __attribute__((always_inline))

// Unrolls the next loop completely, so that the arrays it indexes become registers.
#if defined(__clang__)
#define VOXTRAL_EDGE_UNROLL _Pragma("clang loop unroll(full)")
#else
#define VOXTRAL_EDGE_UNROLL _Pragma("GCC unroll 16")
#endif

#endif
