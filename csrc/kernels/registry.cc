#include "kernels/registry.h"

#include <cstdlib>

#include "base/cpu_features.h"
#include "base/error.h"

namespace voxtral_edge {

namespace scalar {
extern const Kernels table;
}
#ifdef VOXTRAL_EDGE_WITH_AVX2
namespace avx2 {
extern const Kernels table;
}
#endif
#ifdef VOXTRAL_EDGE_WITH_AVXVNNI
namespace avxvnni {
extern const Kernels table;
}
#endif
#ifdef VOXTRAL_EDGE_WITH_AVX512VNNI
namespace avx512vnni {
extern const Kernels table;
}
#endif
#ifdef VOXTRAL_EDGE_WITH_NEON_DOTPROD
namespace neon_dotprod {
extern const Kernels table;
}
#endif
#ifdef VOXTRAL_EDGE_WITH_NEON_I8MM
namespace neon_i8mm {
extern const Kernels table;
}
#endif

namespace {

struct Entry {
  const Kernels* kernels;
  bool (*runs_on)(const CpuFeatures&);
};

// Best first.
const Entry kEntries[] = {
#ifdef VOXTRAL_EDGE_WITH_AVX512VNNI
    {&avx512vnni::table,
     [](const CpuFeatures& f) {
       return f.avx512f && f.avx512bw && f.avx512dq && f.avx512vl && f.avx512vnni && f.fma && f.f16c;
     }},
#endif
#ifdef VOXTRAL_EDGE_WITH_AVXVNNI
    {&avxvnni::table, [](const CpuFeatures& f) { return f.avx2 && f.fma && f.f16c && f.avx_vnni; }},
#endif
#ifdef VOXTRAL_EDGE_WITH_AVX2
    {&avx2::table, [](const CpuFeatures& f) { return f.avx2 && f.fma && f.f16c; }},
#endif
#ifdef VOXTRAL_EDGE_WITH_NEON_I8MM
    {&neon_i8mm::table, [](const CpuFeatures& f) { return f.neon && f.dotprod && f.i8mm; }},
#endif
#ifdef VOXTRAL_EDGE_WITH_NEON_DOTPROD
    {&neon_dotprod::table, [](const CpuFeatures& f) { return f.neon && f.dotprod; }},
#endif
    {&scalar::table, [](const CpuFeatures&) { return true; }},
};

std::string available_names() {
  std::string names;
  for (const Kernels* k : available_kernels()) names += (names.empty() ? "" : ", ") + std::string(k->name);
  return names;
}

const Kernels& choose() {
  const char* forced = std::getenv("VOXTRAL_EDGE_ISA");
  if (forced == nullptr || *forced == '\0') return *available_kernels().front();
  try {
    return kernels_by_name(forced);
  } catch (const Error& e) {
    throw Error(e.code(), "environment variable VOXTRAL_EDGE_ISA: " + std::string(e.what()));
  }
}

}  // namespace

std::vector<const Kernels*> compiled_kernels() {
  std::vector<const Kernels*> out;
  for (const Entry& entry : kEntries) out.push_back(entry.kernels);
  return out;
}

std::vector<const Kernels*> available_kernels() {
  std::vector<const Kernels*> out;
  for (const Entry& entry : kEntries)
    if (entry.runs_on(cpu_features())) out.push_back(entry.kernels);
  return out;
}

const Kernels& active_kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

const Kernels& kernels_by_name(const std::string& name) {
  for (const Entry& entry : kEntries) {
    if (name != entry.kernels->name) continue;
    if (entry.runs_on(cpu_features())) return *entry.kernels;
    throw Error(ErrorCode::device,
                "this CPU lacks instructions that the kernels \"" + name + "\" need; available: " + available_names());
  }
  throw Error(ErrorCode::usage,
              "there are no kernels named \"" + name + "\" in this build; available: " + available_names());
}

}  // namespace voxtral_edge
