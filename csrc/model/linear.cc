#include "model/linear.h"

#include <utility>

namespace voxtral_edge {

Linear::Linear(PackedMatrix weight, std::vector<float> bias) : weight_(std::move(weight)), bias_(std::move(bias)) {}

void Linear::apply(Executor& executor, const Activations& x, std::size_t rows, float* y, std::size_t y_stride) const {
  run_chunks(executor.pool(), rows, 1, [&](std::size_t, std::size_t begin, std::size_t end) {
    apply_groups(executor.kernels(), x, rows, begin, end, y + begin * kGroupRows, y_stride);
  });
}

void Linear::add_to(Executor& executor, const Activations& x, std::size_t rows, float* y, std::size_t y_stride) const {
  apply_chunks(executor, x, rows, 1, [&](std::size_t first, std::size_t count, const float* chunk) {
    for (std::size_t r = 0; r < rows; ++r)
      executor.kernels().add(y + r * y_stride + first, chunk + r * Executor::chunk_columns(rows), count);
  });
}

void Linear::apply_groups(const Kernels& kernels, const Activations& x, std::size_t rows, std::size_t begin,
                          std::size_t end, float* y, std::size_t y_stride) const {
  // The kernels take the weights, bias and output of group 0 of their range, so that a range can go anywhere.
  const std::uint8_t* weights = weight_.data() + begin * weight_.group_bytes();
  const float* bias = bias_.empty() ? nullptr : bias_.data() + begin * kGroupRows;
  const std::size_t count = end - begin;
  switch (weight_.type()) {
    case WeightType::q4:
      kernels.matmul_q4(weights, x.quantized, rows, 0, count, bias, y, y_stride);
      break;
    case WeightType::q8:
      kernels.matmul_q8(weights, x.quantized, rows, 0, count, bias, y, y_stride);
      break;
    case WeightType::f16:
      kernels.matmul_f16(reinterpret_cast<const std::uint16_t*>(weights), input_width(), x.floats, rows, x.stride, 0,
                         count, bias, y, y_stride);
      break;
    case WeightType::f32:
      kernels.matmul_f32(reinterpret_cast<const float*>(weights), input_width(), x.floats, rows, x.stride, 0, count,
                         bias, y, y_stride);
      break;
  }
}

}  // namespace voxtral_edge
