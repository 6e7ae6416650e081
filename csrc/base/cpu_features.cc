#include "base/cpu_features.h"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace voxtral_edge {
namespace {

#if defined(__x86_64__)

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf) {
  Registers r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return Registers();
  return r;
}

bool bit(unsigned value, unsigned index) { return (value >> index) & 1u; }

// XCR0: which register files the operating system saves at a context switch.
std::uint64_t enabled_states() {
  std::uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
}

CpuFeatures detect() {
  CpuFeatures f;
  const Registers one = cpuid(1, 0);
  if (!bit(one.ecx, 27)) return f;  // OSXSAVE: without it xgetbv traps and no wide register is saved
  const std::uint64_t states = enabled_states();
  const bool ymm = (states & 0x6) == 0x6;    // SSE and AVX halves
  const bool zmm = (states & 0xe6) == 0xe6;  // and opmask, upper halves, registers 16-31
  const bool tile = (states & 0x60000) == 0x60000;
  const Registers seven = cpuid(7, 0), seven_one = cpuid(7, 1);
  f.avx = ymm && bit(one.ecx, 28);
  f.fma = f.avx && bit(one.ecx, 12);
  f.f16c = f.avx && bit(one.ecx, 29);
  f.avx2 = f.avx && bit(seven.ebx, 5);
  f.avx_vnni = f.avx2 && bit(seven_one.eax, 4);
  f.avx512f = f.avx2 && zmm && bit(seven.ebx, 16);
  f.avx512dq = f.avx512f && bit(seven.ebx, 17);
  f.avx512bw = f.avx512f && bit(seven.ebx, 30);
  f.avx512vl = f.avx512f && bit(seven.ebx, 31);
  f.avx512vnni = f.avx512f && bit(seven.ecx, 11);
  f.avx512bf16 = f.avx512f && bit(seven_one.eax, 5);
  f.amx_int8 = tile && bit(seven.edx, 25);
  return f;
}

#elif defined(__aarch64__)

CpuFeatures detect() {
  CpuFeatures f;
  f.neon = true;
#if defined(__linux__)
  // Bit numbers of the kernel's asm/hwcap.h, spelled out because older headers lack the newer names.
  const unsigned long caps = getauxval(AT_HWCAP), caps2 = getauxval(AT_HWCAP2);
  f.fp16 = (caps >> 10) & 1;
  f.dotprod = (caps >> 20) & 1;
  f.sve = (caps >> 22) & 1;
  f.sve2 = (caps2 >> 1) & 1;
  f.i8mm = (caps2 >> 13) & 1;
  f.bf16 = (caps2 >> 14) & 1;
#elif defined(__APPLE__)
  f.fp16 = f.dotprod = true;  // every Apple silicon Mac
#endif
  return f;
}

#else

CpuFeatures detect() { return CpuFeatures(); }

#endif

}  // namespace

std::vector<std::string> CpuFeatures::names() const {
  const struct {
    bool set;
    const char* name;
  } all[] = {{avx, "avx"},
             {avx2, "avx2"},
             {fma, "fma"},
             {f16c, "f16c"},
             {avx_vnni, "avx_vnni"},
             {avx512f, "avx512f"},
             {avx512bw, "avx512bw"},
             {avx512dq, "avx512dq"},
             {avx512vl, "avx512vl"},
             {avx512vnni, "avx512vnni"},
             {avx512bf16, "avx512bf16"},
             {amx_int8, "amx_int8"},
             {neon, "neon"},
             {fp16, "fp16"},
             {dotprod, "dotprod"},
             {i8mm, "i8mm"},
             {bf16, "bf16"},
             {sve, "sve"},
             {sve2, "sve2"}};
  std::vector<std::string> out;
  for (const auto& entry : all)
    if (entry.set) out.emplace_back(entry.name);
  return out;
}

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

}  // namespace voxtral_edge
