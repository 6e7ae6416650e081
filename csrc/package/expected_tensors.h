// Which tensors a model of a given configuration consists of: names, logical shapes and precision groups.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "package/model_config.h"

namespace voxtral_edge {

struct ExpectedTensor {
  std::string name;
  std::vector<std::size_t> shape;  // [out, in] of a matrix, [out, in, kernel] of a convolution, [n] of a vector
  const char* group;               // key of the manifest's "precision" object; null: always float32
};

// Names of the precision groups, in the manifest's order.
const std::vector<std::string>& precision_groups();

// Every tensor except the scales of quantised matrices (docs/model.md holds the same table).
std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config);

}  // namespace voxtral_edge
