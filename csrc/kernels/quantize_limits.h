// Edge cases of activation quantisation that every instruction set must treat alike.
#pragma once

#include <cstdint>

namespace voxtral_edge {

// |x| as an integer: the order of magnitudes is the order of these bits, and NaN > infinity > finite, so an integer
// maximum finds the largest magnitude and any non-finite value in one pass, in any order.
inline constexpr std::uint32_t kMagnitudeBits = 0x7fffffffu;
// A block whose largest magnitude has these bits or more is not finite: values 0, scale = that magnitude, so products
// become NaN or infinite instead of plausible.
inline constexpr std::uint32_t kInfinityBits = 0x7f800000u;
// A block below 2^-100 (bits of that float) counts as zero: 127 / absmax would overflow below 2^-121.
inline constexpr std::uint32_t kTinyBits = 0x0d800000u;

}  // namespace voxtral_edge
