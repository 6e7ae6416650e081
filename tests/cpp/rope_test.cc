// Rotary angles at every 64-bit position, against long double.
#include "model/rope.h"

#include <cmath>
#include <numbers>
#include <vector>

#include "check.h"
#include "engine_testing.h"

namespace voxtral_edge {
namespace {

struct Angles {
  std::vector<float> cosines, sines;
};

Angles angles_at(const Rope& rope, std::uint64_t position) {
  Angles a{std::vector<float>(rope.half()), std::vector<float>(rope.half())};
  rope.angles(position, a.cosines.data(), a.sines.data());
  return a;
}

long double exact_angle(std::uint64_t position, std::size_t j, std::size_t head_dim, long double theta) {
  const long double frequency =
      std::pow(theta, -2.0L * static_cast<long double>(j) / static_cast<long double>(head_dim));
  return std::fmod(static_cast<long double>(position) * frequency, 2.0L * std::numbers::pi_v<long double>);
}

}  // namespace

TEST("angles against long double near 2^17, 2^31, 2^32 and 2^40") {
  for (const std::size_t head_dim : {8, 18, 64, 128}) {
    const Rope rope(head_dim, 1e6);
    CHECK_EQ(rope.half(), head_dim / 2);
    for (const int bits : {0, 7, 17, 31, 32, 34, 40}) {
      for (std::uint64_t offset = 0; offset < 100; offset += 9) {
        const std::uint64_t position = (std::uint64_t{1} << bits) - 1 + offset;
        const Angles a = angles_at(rope, position);
        // float rounding of the result, and the angle's own: position * 2^-53 for the frequency and the product.
        const double limit = 6.1e-8 + static_cast<double>(position) * 3.5e-16;
        for (std::size_t j = 0; j < rope.half(); ++j) {
          const long double angle = exact_angle(position, j, head_dim, 1e6L);
          CHECK_NEAR(a.cosines[j], static_cast<double>(std::cos(angle)), limit);
          CHECK_NEAR(a.sines[j], static_cast<double>(std::sin(angle)), limit);
        }
      }
    }
  }
}

TEST("position 0 does not rotate, frequency 0 turns one radian per position") {
  const Rope rope(64, 1e6);
  const Angles zero = angles_at(rope, 0), one = angles_at(rope, 1);
  for (std::size_t j = 0; j < 32; ++j) {
    CHECK_EQ(zero.cosines[j], 1.0f);
    CHECK_EQ(zero.sines[j], 0.0f);
  }
  CHECK_NEAR(one.cosines[0], std::cos(1.0), 6e-8);
  CHECK_NEAR(one.sines[0], std::sin(1.0), 6e-8);
  CHECK_NEAR(one.sines[31], std::sin(std::pow(1e6, -62.0 / 64.0)), 1e-12);
}

TEST("theta is the package's, not a default") {
  const Angles a = angles_at(Rope(16, 1e4), 3), b = angles_at(Rope(16, 1e6), 3);
  CHECK_NEAR(a.sines[1], std::sin(3.0 * std::pow(1e4, -2.0 / 16.0)), 1e-7);
  CHECK_NEAR(b.sines[1], std::sin(3.0 * std::pow(1e6, -2.0 / 16.0)), 1e-7);
}

TEST("rotate pairs j and j + half and keeps lengths") {
  const std::size_t head_dim = 12;
  const Rope rope(head_dim, 1e6);
  const Angles a = angles_at(rope, 12345);
  check::Numbers numbers(4);
  std::vector<float> x(head_dim), y(head_dim);
  for (float& v : x) v = numbers.between(-2.0f, 2.0f);
  rope.rotate(x.data(), a.cosines.data(), a.sines.data(), y.data());
  for (std::size_t j = 0; j < rope.half(); ++j) {
    const float p = x[j], q = x[j + rope.half()];
    CHECK_NEAR(y[j], p * a.cosines[j] - q * a.sines[j], 1e-6);
    CHECK_NEAR(y[j + rope.half()], q * a.cosines[j] + p * a.sines[j], 1e-6);
    CHECK_NEAR(std::hypot(y[j], y[j + rope.half()]), std::hypot(p, q), 1e-6);
  }
  rope.rotate(x.data(), a.cosines.data(), a.sines.data(), x.data());  // in place
  CHECK(x == y);
}

TEST("scores depend on distances only, at any offset") {
  const std::size_t head_dim = 64;
  const Rope rope(head_dim, 1e6);
  check::Numbers numbers(8);
  std::vector<float> q(head_dim), k(head_dim), rotated_q(head_dim), rotated_k(head_dim);
  for (float& v : q) v = numbers.between(-1.0f, 1.0f);
  for (float& v : k) v = numbers.between(-1.0f, 1.0f);
  const auto score = [&](std::uint64_t at, std::uint64_t distance) {
    const Angles here = angles_at(rope, at + distance), there = angles_at(rope, at);
    rope.rotate(q.data(), here.cosines.data(), here.sines.data(), rotated_q.data());
    rope.rotate(k.data(), there.cosines.data(), there.sines.data(), rotated_k.data());
    double sum = 0.0;
    for (std::size_t i = 0; i < head_dim; ++i) sum += static_cast<double>(rotated_q[i]) * rotated_k[i];
    return sum;
  };
  for (const std::uint64_t distance : {0ull, 1ull, 19ull, 749ull}) {
    const double expected = score(0, distance);
    for (const int bits : {17, 20, 31, 32, 34}) {
      CHECK_NEAR(score((std::uint64_t{1} << bits) - 300, distance), expected, 1e-5);  // 10 rad would be wrong in float
    }
  }
}

TEST("every product is rounded before it is added, on every CPU") {
  const std::size_t head_dim = 128, half = head_dim / 2;
  const Rope rope(head_dim, 1e6);
  check::Numbers numbers(9);
  std::vector<float> x(head_dim), out(head_dim);
  for (float& v : x) v = numbers.between(-1.0f, 1.0f);
  const Angles a = angles_at(rope, 123457);
  rope.rotate(x.data(), a.cosines.data(), a.sines.data(), out.data());
  const auto product = [](float p, float q) {
    const volatile float rounded = p * q;  // whatever this file is compiled with
    return rounded;
  };
  for (std::size_t j = 0; j < half; ++j) {
    CHECK_EQ(out[j], product(x[j], a.cosines[j]) - product(x[j + half], a.sines[j]));
    CHECK_EQ(out[j + half], product(x[j + half], a.cosines[j]) + product(x[j], a.sines[j]));
  }
}

}  // namespace voxtral_edge

CHECK_MAIN()
