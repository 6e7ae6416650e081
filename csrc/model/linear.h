// y = W x + b with packed weights of any type.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/packed_matrix.h"
#include "model/executor.h"

namespace voxtral_edge {

class Linear {
 public:
  Linear() = default;
  Linear(PackedMatrix weight, std::vector<float> bias);  // bias: empty, or padded to weight.padded_rows()

  std::size_t input_width() const { return weight_.columns(); }
  std::size_t output_width() const { return weight_.rows(); }
  std::size_t output_stride() const { return weight_.padded_rows(); }  // smallest y_stride
  const PackedMatrix& weight() const { return weight_; }
  std::size_t bytes() const { return weight_.bytes() + bias_.size() * sizeof(float); }

  // x [rows][x_stride], y [rows][y_stride], y_stride >= output_stride(). rows <= kMaxPassRows.
  void apply(Executor& executor, const float* x, std::size_t rows, std::size_t x_stride, float* y,
             std::size_t y_stride) const;

  // The same for output groups [begin, end) on the calling thread, from activations quantised before (q4/q8; null for
  // float weights). y points at the column of `begin`.
  void apply_groups(const Kernels& kernels, const QuantizedRows* quantized, const float* x, std::size_t rows,
                    std::size_t x_stride, std::size_t begin, std::size_t end, float* y, std::size_t y_stride) const;

  bool quantized() const { return weight_.type() == WeightType::q4 || weight_.type() == WeightType::q8; }

 private:
  PackedMatrix weight_;
  std::vector<float> bias_;
};

}  // namespace voxtral_edge
