// The ceiling of the integer products: int8 multiply-adds on registers, nothing loaded.
#pragma once

#include <cstddef>

#include "base/thread_pool.h"
#include "kernels/kernels.h"

namespace voxtral_edge {

// int8 multiply-adds per second (a multiplication and its addition count as one) that all threads of the pool reach
// together with the instructions of `kernels`: best of several passes of a few milliseconds. A product cannot be
// faster; it also unpacks weights and applies scales.
double measure_integer_peak(const Kernels& kernels, ThreadPool& pool);

}  // namespace voxtral_edge
