// Which CPUs this process may use, and which of them are the fast ones (big.LITTLE, hybrid x86).
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace voxtral_edge {

class ThreadPool;

struct CpuTopology {
  std::vector<std::size_t> allowed;  // the affinity mask, ascending; never empty
  std::vector<std::size_t> big;      // those of them that are about as fast as the fastest; all where nothing is known
  std::size_t quota;                 // CPUs' worth of time that cgroups grant, rounded, at least 1; SIZE_MAX: no limit

  std::size_t usable() const;           // min(allowed, quota)
  std::size_t default_threads() const;  // min(big, quota, 8)
};

// Reads /proc and /sys. `root` and `allowed` replace the file system's root and the affinity mask (tests).
// Speed of a CPU: cpu_capacity (Arm), else which of Intel's two kinds of core it is, else the highest clock. A CPU is
// big from 70 % of the fastest on. cgroups: v2 and v1, the process's own and those above it.
CpuTopology read_cpu_topology(const std::string& root = "", const std::vector<std::size_t>* allowed = nullptr);

// "0-3,6" -> 0 1 2 3 6. Error(usage) for anything else; `what` names the text in its message.
std::vector<std::size_t> parse_cpu_list(const std::string& text, const std::string& what);

// Where the workers of a pool run. affinity:
//   ""     the environment variable VOXTRAL_EDGE_AFFINITY, where unset "off"
//   "off"  wherever the system puts them, but on the big CPUs where there are two kinds and enough of these
//   "auto" worker i stays on one CPU, big ones first; the first CPU is left to the calling thread
//   list   the same on these CPUs ("4-7"). Error(usage) if one is not allowed.
// The calling thread is never moved. Error(device) where the system cannot pin threads.
void place_workers(ThreadPool& pool, const CpuTopology& topology, const std::string& affinity);

}  // namespace voxtral_edge
