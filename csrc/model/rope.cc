#include "model/rope.h"

#include <cmath>

namespace voxtral_edge {

Rope::Rope(std::size_t head_dim, double theta) : frequencies_(head_dim / 2) {
  for (std::size_t j = 0; j < frequencies_.size(); ++j) {
    frequencies_[j] = std::pow(theta, -2.0 * static_cast<double>(j) / static_cast<double>(head_dim));
  }
}

void Rope::angles(std::uint64_t position, float* cosines, float* sines) const {
  for (std::size_t j = 0; j < frequencies_.size(); ++j) {
    const double angle = static_cast<double>(position) * frequencies_[j];
    cosines[j] = static_cast<float>(std::cos(angle));
    sines[j] = static_cast<float>(std::sin(angle));
  }
}

void Rope::rotate(const float* x, const float* cosines, const float* sines, float* out) const {
  const std::size_t half = frequencies_.size();
  for (std::size_t j = 0; j < half; ++j) {
    const float a = x[j], b = x[j + half];
    out[j] = a * cosines[j] - b * sines[j];
    out[j + half] = b * cosines[j] + a * sines[j];
  }
}

}  // namespace voxtral_edge
