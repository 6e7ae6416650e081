// Rotary position embedding, half-split convention (spec 2.3), at any 64-bit position.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace voxtral_edge {

// Angles are computed in double at the absolute position: a float angle is off by 0.06 rad at 10^6 (spec 5), a double
// one by 5e-7 at 2^32, so there is no position limit and no table.
class Rope {
 public:
  Rope(std::size_t head_dim, double theta);

  std::size_t half() const { return frequencies_.size(); }
  // cosines, sines [half()]
  void angles(std::uint64_t position, float* cosines, float* sines) const;
  // Rotates pairs (j, j + half) of x [head_dim] in place, or from x to out.
  void rotate(const float* x, const float* cosines, const float* sines, float* out) const;

 private:
  std::vector<double> frequencies_;  // theta^(-2 j / head_dim)
};

}  // namespace voxtral_edge
