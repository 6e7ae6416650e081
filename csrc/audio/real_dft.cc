#include "audio/real_dft.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace voxtral_edge {
namespace {

std::size_t largest_divisor_below_root(std::size_t n) {
  std::size_t best = 1;
  for (std::size_t d = 1; d * d <= n; ++d) {
    if (n % d == 0) best = d;
  }
  return best;
}

void fill_roots(std::size_t rows, std::size_t columns, std::size_t period, std::vector<double>& cosines,
                std::vector<double>& sines) {
  cosines.resize(rows * columns);
  sines.resize(rows * columns);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) {
      const double angle =
          -2.0 * std::numbers::pi * static_cast<double>((r * c) % period) / static_cast<double>(period);
      cosines[r * columns + c] = std::cos(angle);
      sines[r * columns + c] = std::sin(angle);
    }
  }
}

}  // namespace

RealDft::RealDft(std::size_t length)
    : length_(length), outer_(largest_divisor_below_root(length)), inner_(length / outer_) {
  const std::size_t columns = outer_ / 2 + 1;  // the others are complex conjugates: the input is real
  fill_roots(columns, outer_, outer_, outer_cos_, outer_sin_);
  fill_roots(columns, inner_, length_, twiddle_cos_, twiddle_sin_);
  fill_roots(inner_, inner_, inner_, inner_cos_, inner_sin_);
}

void RealDft::power(const double* window, double* power, double* scratch) const {
  const std::size_t a = outer_, b = inner_;
  double* re = scratch;
  double* im = re + b;
  double* out_re = im + b;
  double* out_im = out_re + b;
  for (std::size_t k1 = 0; k1 <= a / 2; ++k1) {
    std::fill(re, re + 4 * b, 0.0);
    for (std::size_t n1 = 0; n1 < a; ++n1) {
      const double c = outer_cos_[k1 * a + n1], s = outer_sin_[k1 * a + n1];
      const double* x = window + b * n1;
      for (std::size_t n2 = 0; n2 < b; ++n2) {
        re[n2] += x[n2] * c;
        im[n2] += x[n2] * s;
      }
    }
    for (std::size_t n2 = 0; n2 < b; ++n2) {
      const double c = twiddle_cos_[k1 * b + n2], s = twiddle_sin_[k1 * b + n2];
      const double r = re[n2] * c - im[n2] * s, i = re[n2] * s + im[n2] * c;
      const double* wc = &inner_cos_[n2 * b];
      const double* ws = &inner_sin_[n2 * b];
      for (std::size_t k2 = 0; k2 < b; ++k2) {
        out_re[k2] += r * wc[k2] - i * ws[k2];
        out_im[k2] += r * ws[k2] + i * wc[k2];
      }
    }
    for (std::size_t k2 = 0; k2 < b; ++k2) {
      const std::size_t k = k1 + a * k2;
      const std::size_t bin = k <= length_ / 2 ? k : length_ - k;
      power[bin] = out_re[k2] * out_re[k2] + out_im[k2] * out_im[k2];
    }
  }
}

}  // namespace voxtral_edge
