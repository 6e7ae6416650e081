// How fast the cores multiply when memory is no limit: the other half of what a step takes at least.
#pragma once

#include <cstddef>

#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "kernels/packed_matrix.h"

namespace voxtral_edge {

// Multiply-adds per second (a multiplication and its addition count as one) of q4 or q8 products with `rows` activation
// rows, on all threads of the pool together, weights and activations in each core's own cache: best of several passes
// of a few milliseconds. Unlike the peak of the dot-product instruction (integer_peak.h) it has unpacking and scaling
// in it.
double measure_product_rate(const Kernels& kernels, ThreadPool& pool, WeightType type, std::size_t rows);

}  // namespace voxtral_edge
