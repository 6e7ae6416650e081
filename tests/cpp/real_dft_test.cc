// The two-factor transform against the definition, in long double.
#include "audio/real_dft.h"

#include <cmath>
#include <numbers>
#include <vector>

#include "check.h"
#include "engine_testing.h"

namespace voxtral_edge {
namespace {

std::vector<long double> direct_power(const std::vector<double>& x) {
  const std::size_t n = x.size();
  std::vector<long double> power;
  for (std::size_t k = 0; k <= n / 2; ++k) {
    long double re = 0, im = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const long double angle =
          -2.0L * std::numbers::pi_v<long double> * static_cast<long double>((i * k) % n) / static_cast<long double>(n);
      re += x[i] * std::cos(angle);
      im += x[i] * std::sin(angle);
    }
    power.push_back(re * re + im * im);
  }
  return power;
}

std::vector<double> power_of(const RealDft& dft, const std::vector<double>& x) {
  std::vector<double> power(dft.bins()), scratch(dft.scratch_size());
  dft.power(x.data(), power.data(), scratch.data());
  return power;
}

}  // namespace

TEST("random windows of many lengths: prime, square, even, odd") {
  for (const std::size_t length :
       {1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 25, 30, 49, 97, 100, 101, 128, 360, 400, 401, 512}) {
    check::Numbers numbers(length);
    std::vector<double> x(length);
    double energy = 0.0;
    for (double& v : x) {
      v = numbers.between(-1.0f, 1.0f);
      energy += v * v;
    }
    const RealDft dft(length);
    CHECK_EQ(dft.length(), length);
    CHECK_EQ(dft.bins(), length / 2 + 1);
    const std::vector<double> power = power_of(dft, x);
    const std::vector<long double> expected = direct_power(x);
    // Every bin is a sum of `length` products: rounding stays near length * epsilon of the largest possible power.
    const double limit = 1e-15 * static_cast<double>(length) * energy * static_cast<double>(length);
    for (std::size_t k = 0; k < dft.bins(); ++k) CHECK_NEAR(power[k], static_cast<double>(expected[k]), limit);
  }
}

TEST("Parseval: the bins hold the energy of the window") {
  for (const std::size_t length : {400, 401}) {
    check::Numbers numbers(7);
    std::vector<double> x(length);
    double energy = 0.0;
    for (double& v : x) {
      v = numbers.between(-1.0f, 1.0f);
      energy += v * v;
    }
    const std::vector<double> power = power_of(RealDft(length), x);
    double sum = power[0];
    for (std::size_t k = 1; k < power.size(); ++k) {
      const bool nyquist = length % 2 == 0 && k == length / 2;
      sum += nyquist ? power[k] : 2.0 * power[k];
    }
    CHECK_NEAR(sum / static_cast<double>(length) / energy, 1.0, 1e-12);
  }
}

TEST("a weak bin beside a strong one keeps its digits") {
  const std::size_t length = 400;
  std::vector<double> x(length);
  for (std::size_t i = 0; i < length; ++i) {
    const double t = 2.0 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(length);
    x[i] = std::cos(20.0 * t) + 1e-6 * std::cos(140.0 * t);
  }
  const std::vector<double> power = power_of(RealDft(length), x);
  CHECK_NEAR(power[20], 200.0 * 200.0, 1e-8);
  CHECK_NEAR(power[140], 4e-8, 1e-14);  // 120 dB below
}

}  // namespace voxtral_edge

CHECK_MAIN()
