// Power spectrum of a real window of any length by a two-factor Cooley-Tukey transform.
#pragma once

#include <cstddef>
#include <vector>

namespace voxtral_edge {

// N = A * B with A the largest divisor not above sqrt(N): 400 = 16 * 25 costs 30 k multiply-adds a window, with tables
// that stay in L1 (a direct DFT: 80 k and 650 KB of tables). A power-of-two FFT of a padded window would sample other
// frequencies than the model was trained on (spec 10). Double precision: the log of a weak bin beside a strong one
// keeps its digits.
class RealDft {
 public:
  explicit RealDft(std::size_t length);

  std::size_t length() const { return length_; }
  std::size_t bins() const { return length_ / 2 + 1; }

  // window [length] -> power [bins] = |X_k|^2. scratch: scratch_size() doubles.
  void power(const double* window, double* power, double* scratch) const;
  std::size_t scratch_size() const { return 4 * inner_; }

 private:
  std::size_t length_, outer_, inner_;             // length = outer (A) * inner (B)
  std::vector<double> outer_cos_, outer_sin_;      // [k1][n1]  e^{-2 pi i n1 k1 / A}
  std::vector<double> twiddle_cos_, twiddle_sin_;  // [k1][n2]  e^{-2 pi i n2 k1 / N}
  std::vector<double> inner_cos_, inner_sin_;      // [n2][k2]  e^{-2 pi i n2 k2 / B}
};

}  // namespace voxtral_edge
