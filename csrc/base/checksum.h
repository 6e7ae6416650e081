// A fast 64-bit checksum against damage (not against forgery): as quick as memory on every CPU.
#pragma once

#include <cstddef>
#include <cstdint>

namespace voxtral_edge {

// Fletcher sums over eight lanes of 64-bit words, modulo 2^64, mixed at the end: every change within one word and every
// exchange of two words changes it for certain, other damage with all but 2^-64. Only additions, so that compilers
// vectorise it everywhere.
std::uint64_t checksum(const void* data, std::size_t bytes);

}  // namespace voxtral_edge
