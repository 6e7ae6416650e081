// The delay conditioning of the decoder's FFN norms: g [layers][width], computed once per delay (spec 5).
#pragma once

#include <cstddef>
#include <vector>

#include "package/package.h"

namespace voxtral_edge {

// g_l = linear2(gelu(linear1(c))), c = [cos(D f), sin(D f)], f_i = exp(-ln(10000) i / (width / 2)). In double precision
// from the package's float32 MLPs; D counts tokens. Reads 2 * layers small tensors.
std::vector<float> delay_scales(const Package& package, std::size_t delay_tokens);

}  // namespace voxtral_edge
