// Kernels and machine facts for Python.
#include "base/machine.h"

#include <pybind11/stl.h>

#include <utility>

#include "base/cpu_features.h"
#include "base/cpu_topology.h"
#include "base/error.h"
#include "base/memory.h"
#include "bindings/bindings.h"
#include "kernels/integer_peak.h"
#include "kernels/product_rate.h"
#include "kernels/registry.h"

namespace voxtral_edge {
namespace {

std::vector<std::string> names(const std::vector<const Kernels*>& kernels) {
  std::vector<std::string> result;
  for (const Kernels* k : kernels) result.emplace_back(k->name);
  return result;
}

}  // namespace

void bind_machine(py::module_& module) {
  module.def(
      "kernels_compiled", [] { return names(compiled_kernels()); },
      "Kernel implementations in this build, best first.");
  module.def(
      "kernels_available", [] { return names(available_kernels()); },
      "Kernel implementations this CPU can run, best first.");
  module.def(
      "kernels_active", [] { return std::string(active_kernels().name); },
      "The implementation in use: VOXTRAL_EDGE_ISA, else the best available.");
  module.def("kernels_description", [](const std::string& name) {
    for (const Kernels* k : compiled_kernels()) {
      if (name == k->name) return std::string(k->description);
    }
    return std::string(kernels_by_name(name).description);  // throws, naming what exists
  });
  module.def(
      "cpu_features", [] { return cpu_features().names(); },
      "Instruction set extensions of this CPU that matter here.");
  module.def(
      "usable_cpus", [] { return read_cpu_topology().usable(); },
      "CPUs this process may use (affinity mask and cgroup quota).");
  module.def(
      "default_threads", [] { return read_cpu_topology().default_threads(); },
      "Threads an engine uses unless told otherwise: the fast CPUs among these, at most 8.");
  module.def(
      "memory",
      [] {
        const MemoryFacts facts = read_memory();
        return std::make_pair(facts.total, facts.available);
      },
      "(total, available) bytes of main memory; a container's or service's limit counts as the total.");
  module.def("measure_read_bandwidth", &measure_read_bandwidth, py::arg("threads"), py::arg("megabytes") = 512,
             py::call_guard<py::gil_scoped_release>(), "Memory read bandwidth in GB/s (10^9 bytes per second).");
  module.def(
      "measure_integer_peak",
      [](std::size_t threads) {
        ThreadPool pool(threads);
        return measure_integer_peak(active_kernels(), pool);
      },
      py::arg("threads"), py::call_guard<py::gil_scoped_release>(),
      "int8 multiply-adds per second of the active kernels' instructions, on registers: best of several passes.");
  module.def(
      "measure_product_rate",
      [](std::size_t bits, std::size_t rows, std::size_t threads) {
        if (bits != 4 && bits != 8) throw Error(ErrorCode::usage, "bits: must be 4 or 8");
        ThreadPool pool(threads);
        return measure_product_rate(active_kernels(), pool, bits == 4 ? WeightType::q4 : WeightType::q8, rows);
      },
      py::arg("bits"), py::arg("rows"), py::arg("threads"), py::call_guard<py::gil_scoped_release>(),
      "Multiply-adds per second of int4 or int8 products whose weights lie in the cores' caches.");
}

}  // namespace voxtral_edge
