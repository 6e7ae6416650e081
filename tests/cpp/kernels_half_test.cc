// Binary16 conversions: every half, and the rounding of floats, on every instruction set.
#include <bit>
#include <cmath>
#include <vector>

#include "check.h"
#include "kernels_support.h"

using namespace voxtral_edge;
using namespace voxtral_edge::test;

namespace {

// Independent of half.h: value from the definition of the format.
double value_of(std::uint16_t half) {
  const int exponent = (half >> 10) & 31, fraction = half & 1023;
  const double size = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return half & 0x8000 ? -size : size;
}

bool is_nan(std::uint16_t half) { return (half & 0x7c00) == 0x7c00 && (half & 0x3ff) != 0; }

std::vector<float> awkward_floats() {
  std::vector<float> out;
  // Around every half: the value itself, the midpoint to the next one, and the neighbours of that midpoint.
  for (std::uint32_t h = 0; h < 0x7c00; h++) {
    const float value = float_from_half(static_cast<std::uint16_t>(h));
    const double next = h == 0x7bff ? 65536.0 : value_of(static_cast<std::uint16_t>(h + 1));
    const float middle = static_cast<float>((value + next) / 2);
    for (const float v : {value, middle, std::nextafterf(middle, 0.0f), std::nextafterf(middle, INFINITY)}) {
      out.push_back(v);
      out.push_back(-v);
    }
  }
  for (const float v :
       {1e30f, 65519.996f, 65520.0f, 65535.0f, INFINITY, 1e-30f, 1e-42f, 5.9604645e-8f, 2.9802322e-8f}) {
    out.push_back(v);
    out.push_back(-v);
  }
  return out;
}

}  // namespace

TEST("all 65536 halves convert to their value") {
  std::vector<std::uint16_t> halves(65536);
  for (std::size_t i = 0; i < halves.size(); i++) halves[i] = static_cast<std::uint16_t>(i);
  for (const Kernels* kernels : available_kernels()) {
    std::vector<float> floats(halves.size());
    kernels->from_f16(halves.data(), halves.size(), floats.data());
    for (std::size_t i = 0; i < halves.size(); i++) {
      if (is_nan(halves[i])) {
        CHECK(std::isnan(floats[i]));
        CHECK_EQ(std::bit_cast<std::uint32_t>(floats[i]),
                 (i & 0x8000u) << 16 | 0x7fc00000u | (static_cast<std::uint32_t>(i) & 0x3ffu) << 13);
      } else if ((i & 0x7fff) == 0x7c00) {
        CHECK_EQ(floats[i], i & 0x8000 ? -INFINITY : INFINITY);
      } else {
        CHECK_EQ(static_cast<double>(floats[i]), value_of(halves[i]));
        CHECK_EQ(std::signbit(floats[i]), (i & 0x8000) != 0);
      }
    }
    std::vector<std::uint16_t> back(halves.size());
    kernels->to_f16(floats.data(), floats.size(), back.data());
    for (std::size_t i = 0; i < halves.size(); i++)
      CHECK_EQ(back[i], is_nan(halves[i]) ? static_cast<std::uint16_t>(halves[i] | 0x200) : halves[i]);
  }
}

TEST("floats round to the nearest half, ties to even") {
  const std::vector<float> floats = awkward_floats();
  for (const Kernels* kernels : available_kernels()) {
    std::vector<std::uint16_t> halves(floats.size());
    kernels->to_f16(floats.data(), floats.size(), halves.data());
    for (std::size_t i = 0; i < floats.size(); i++) {
      const double x = floats[i];
      const std::uint16_t h = halves[i];
      CHECK_EQ((h & 0x8000) != 0, std::signbit(x));
      if (std::fabs(x) >= 65520.0) {
        CHECK_EQ(h & 0x7fff, 0x7c00);
        continue;
      }
      const double error = std::fabs(value_of(h) - x);
      const std::uint16_t size = h & 0x7fff;
      if (size > 0) {
        const double below = std::fabs(std::fabs(value_of(static_cast<std::uint16_t>(size - 1))) - std::fabs(x));
        CHECK(error < below || (error == below && h % 2 == 0));
      }
      if (size < 0x7bff) {
        const double above = std::fabs(std::fabs(value_of(static_cast<std::uint16_t>(size + 1))) - std::fabs(x));
        CHECK(error < above || (error == above && h % 2 == 0));
      }
    }
  }
}

TEST("every count, with nothing written beyond it") {
  Random random(5);
  const std::vector<float> floats = random.normals(70);
  for (const Kernels* kernels : available_kernels())
    for (std::size_t count = 0; count <= 66; count++) {
      std::vector<std::uint16_t> halves(70, 0xabcd);
      kernels->to_f16(floats.data(), count, halves.data());
      std::vector<float> back(70, 99.0f);
      kernels->from_f16(halves.data(), count, back.data());
      for (std::size_t i = 0; i < 70; i++) {
        CHECK_EQ(halves[i], i < count ? half_from_float(floats[i]) : std::uint16_t{0xabcd});
        CHECK_EQ(back[i], i < count ? float_from_half(halves[i]) : 99.0f);
      }
    }
}

CHECK_MAIN()
