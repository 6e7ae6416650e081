// What this machine gives a process: memory bandwidth.
#pragma once

#include <cstddef>

namespace voxtral_edge {

// Best of a few passes of `threads` threads reading a buffer of `megabytes` once, in GB/s (10^9): the ceiling for any
// kernel that streams weights. Takes a fraction of a second per GB. Error(usage) outside 1 MiB .. 1 TiB,
// Error(out_of_memory) when memory is short.
double measure_read_bandwidth(std::size_t threads, std::size_t megabytes);

}  // namespace voxtral_edge
