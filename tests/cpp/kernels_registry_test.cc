// The registry: what is compiled, what runs here, and the VOXTRAL_EDGE_ISA override (read once per process, so the
// build registers one run of the "forced" test per value).
#include "kernels/registry.h"

#include <cstdlib>
#include <set>
#include <string>

#include "base/cpu_features.h"
#include "check.h"
#include "kernels/integer_peak.h"

using namespace voxtral_edge;

TEST("scalar is always there, last, and names are unique") {
  for (const auto& list : {compiled_kernels(), available_kernels()}) {
    CHECK(!list.empty());
    CHECK_EQ(std::string(list.back()->name), std::string("scalar"));
    std::set<std::string> names;
    for (const Kernels* k : list) CHECK(names.insert(k->name).second);
  }
}

TEST("available kernels are compiled and match the features of this CPU") {
  std::set<std::string> compiled, available;
  for (const Kernels* k : compiled_kernels()) compiled.insert(k->name);
  for (const Kernels* k : available_kernels()) available.insert(k->name);
  for (const std::string& name : available) CHECK(compiled.count(name) == 1);
  const CpuFeatures& f = cpu_features();
  CHECK_EQ(available.count("avx2") == 1, f.avx2 && f.fma && f.f16c);
  CHECK_EQ(available.count("avxvnni") == 1, f.avx2 && f.fma && f.f16c && f.avx_vnni);
  CHECK_EQ(available.count("avx512vnni") == 1, f.avx512vnni && f.avx512bw && f.avx512dq && f.avx512vl);
  CHECK_EQ(available.count("neon_dotprod") == 1, f.dotprod);
  CHECK_EQ(available.count("neon_i8mm") == 1, compiled.count("neon_i8mm") == 1 && f.dotprod && f.i8mm);
  std::string listed = "  features:";
  for (const std::string& name : f.names()) listed += " " + name;
  std::printf("%s\n  kernels:", listed.c_str());
  for (const Kernels* k : available_kernels()) std::printf(" %s", k->name);
  std::printf("\n");
}

TEST("every table is complete") {
  for (const Kernels* k : compiled_kernels()) {
    CHECK(k->name && k->description && k->quantize_rows && k->matmul_q4 && k->matmul_q8 && k->matmul_f16 &&
          k->matmul_f32);
    CHECK(k->rms_norm && k->silu_multiply && k->gelu && k->add && k->attend && k->to_f16 && k->from_f16 &&
          k->logit_stats && k->integer_work);
  }
}

TEST("integer work grows with the repeats, and its peak can be measured") {
  ThreadPool pool(2);
  for (const Kernels* k : available_kernels()) {
    const std::uint64_t once = k->integer_work(1);
    CHECK(once > 0);
    CHECK_EQ(k->integer_work(7), 7 * once);
    CHECK(measure_integer_peak(*k, pool) > 0.0);
  }
}

TEST("kernels by name: unknown ones are wrong usage, unsupported ones device errors; both list what there is") {
  CHECK_EQ(std::string(kernels_by_name("scalar").name), std::string("scalar"));
  CHECK_THROWS_CODE(kernels_by_name("bogus"), ErrorCode::usage);
  CHECK_THROWS_CODE(kernels_by_name(""), ErrorCode::usage);
  std::set<std::string> available;
  for (const Kernels* k : available_kernels()) available.insert(k->name);
  for (const Kernels* k : compiled_kernels())
    if (available.count(k->name) == 0) CHECK_THROWS_CODE(kernels_by_name(k->name), ErrorCode::device);
  try {
    kernels_by_name("bogus");
  } catch (const Error& e) {
    for (const std::string& name : available) CHECK(std::string(e.what()).find(name) != std::string::npos);
  }
}

TEST("forced choice") {
  const char* forced = std::getenv("VOXTRAL_EDGE_ISA");
  std::set<std::string> available;
  for (const Kernels* k : available_kernels()) available.insert(k->name);
  if (forced == nullptr || *forced == '\0') {
    CHECK_EQ(std::string(active_kernels().name), std::string(available_kernels().front()->name));
  } else if (available.count(forced) == 1) {
    CHECK_EQ(std::string(active_kernels().name), std::string(forced));
  } else {
    bool compiled = false;
    for (const Kernels* k : compiled_kernels()) compiled = compiled || forced == std::string(k->name);
    CHECK_THROWS_CODE(active_kernels(), compiled ? ErrorCode::device : ErrorCode::usage);
    try {
      active_kernels();
    } catch (const Error& e) {
      CHECK(std::string(e.what()).find("VOXTRAL_EDGE_ISA") != std::string::npos);
      CHECK(std::string(e.what()).find(forced) != std::string::npos);
      CHECK(std::string(e.what()).find("scalar") != std::string::npos);
    }
  }
}

CHECK_MAIN()
