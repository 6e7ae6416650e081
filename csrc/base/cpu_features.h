// What this CPU (and its operating system) can execute.
#pragma once

#include <string>
#include <vector>

namespace voxtral_edge {

// A bit is set only when the instructions exist AND the operating system saves the registers they use.
struct CpuFeatures {
  // x86-64
  bool avx = false, avx2 = false, fma = false, f16c = false;
  bool avx_vnni = false;  // VEX-encoded VNNI of 2021+ client cores
  bool avx512f = false, avx512bw = false, avx512dq = false, avx512vl = false, avx512vnni = false, avx512bf16 = false;
  bool amx_int8 = false;
  // aarch64 (Armv8 always has neon)
  bool neon = false, fp16 = false, dotprod = false, i8mm = false, bf16 = false, sve = false, sve2 = false;

  // Names of the set bits, in the order above.
  std::vector<std::string> names() const;
};

// Read once, then constant.
const CpuFeatures& cpu_features();

}  // namespace voxtral_edge
