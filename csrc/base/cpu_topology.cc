#include "base/cpu_topology.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <sstream>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

#include "base/error.h"
#include "base/thread_pool.h"

namespace voxtral_edge {
namespace {

constexpr std::size_t kMaxDefaultThreads = 8;  // more cores than that share one memory bus and only wait for it
constexpr double kBigShare = 0.7;  // cores of one kind differ by a few percent; Zen 5c has 65 % of Zen 5's clock
constexpr std::size_t kMostCpus = 65536;

std::vector<std::size_t> affinity_mask() {
  std::vector<std::size_t> cpus;
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
#endif
  if (cpus.empty()) {
    cpus.resize(std::max(1u, std::thread::hardware_concurrency()));
    std::iota(cpus.begin(), cpus.end(), std::size_t{0});
  }
  return cpus;
}

std::string read_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

double read_number(const std::string& path) {
  double value = 0.0;
  std::istringstream(read_line(path)) >> value;
  return value > 0.0 ? value : 0.0;
}

// A file per CPU; empty unless all of them have one.
std::vector<double> read_per_cpu(const std::string& root, const std::vector<std::size_t>& cpus, const char* name) {
  std::vector<double> values;
  for (const std::size_t cpu : cpus) {
    values.push_back(read_number(root + "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/" + name));
    if (values.back() == 0.0) return {};
  }
  return values;
}

std::vector<double> cpu_speeds(const std::string& root, const std::vector<std::size_t>& cpus) {
  if (std::vector<double> capacities = read_per_cpu(root, cpus, "cpu_capacity"); !capacities.empty()) return capacities;
  const std::string small_cores = read_line(root + "/sys/devices/cpu_atom/cpus");
  if (!small_cores.empty()) {
    std::vector<double> speeds(cpus.size(), 1.0);
    for (const std::size_t small : parse_cpu_list(small_cores, "/sys/devices/cpu_atom/cpus"))
      for (std::size_t i = 0; i < cpus.size(); ++i)
        if (cpus[i] == small) speeds[i] = 0.5;
    return speeds;
  }
  if (std::vector<double> clocks = read_per_cpu(root, cpus, "cpufreq/cpuinfo_max_freq"); !clocks.empty()) return clocks;
  return std::vector<double>(cpus.size(), 1.0);
}

std::vector<std::size_t> big_cpus(const std::string& root, const std::vector<std::size_t>& cpus) {
  std::vector<double> speeds;
  try {
    speeds = cpu_speeds(root, cpus);
  } catch (const Error&) {
    return cpus;  // an unknown format says nothing
  }
  const double fastest = *std::max_element(speeds.begin(), speeds.end());
  std::vector<std::size_t> big;
  for (std::size_t i = 0; i < cpus.size(); ++i)
    if (speeds[i] >= kBigShare * fastest) big.push_back(cpus[i]);
  return big;
}

std::size_t whole_cpus(double quota, double period) {
  return quota > 0 && period > 0 ? static_cast<std::size_t>(std::max(1.0, quota / period + 0.5)) : SIZE_MAX;
}

// v2: "quota period" in microseconds, or "max period".
std::size_t quota_v2(const std::string& folder) {
  std::istringstream line(read_line(folder + "/cpu.max"));
  double quota = 0, period = 0;
  return line >> quota >> period ? whole_cpus(quota, period) : SIZE_MAX;
}

std::size_t quota_v1(const std::string& folder) {
  return whole_cpus(read_number(folder + "/cpu.cfs_quota_us"), read_number(folder + "/cpu.cfs_period_us"));
}

// The smallest limit from the process's group up to the mount point. In a container the path may lie outside of what is
// mounted; the mount point is then the container's group.
std::size_t smallest_quota(const std::string& mount, std::string path, std::size_t (*quota)(const std::string&)) {
  std::size_t smallest = quota(mount);
  for (; path.size() > 1; path.resize(path.rfind('/'))) smallest = std::min(smallest, quota(mount + path));
  return smallest;
}

std::size_t cgroup_quota(const std::string& root) {
  std::ifstream groups(root + "/proc/self/cgroup");  // lines "number:controllers:/path"; v2 has no controllers
  std::size_t smallest = quota_v2(root + "/sys/fs/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos || line.compare(second + 1, 1, "/") != 0) continue;
    std::string controllers = ",";  // and appended: a sum makes GCC 12 warn of an overlap inside (its bug 105651)
    controllers.append(line, first + 1, second - first - 1).append(",");
    const std::string path = line.substr(second + 1);
    if (controllers == ",,") smallest = std::min(smallest, smallest_quota(root + "/sys/fs/cgroup", path, quota_v2));
    else if (controllers.find(",cpu,") != std::string::npos)
      smallest = std::min(smallest, smallest_quota(root + "/sys/fs/cgroup/cpu", path, quota_v1));
  }
  return smallest;
}

bool contains(const std::vector<std::size_t>& cpus, std::size_t cpu) {
  return std::find(cpus.begin(), cpus.end(), cpu) != cpus.end();
}

}  // namespace

std::size_t CpuTopology::usable() const { return std::min(allowed.size(), quota); }

std::size_t CpuTopology::default_threads() const { return std::min({big.size(), quota, kMaxDefaultThreads}); }

CpuTopology read_cpu_topology(const std::string& root, const std::vector<std::size_t>* allowed) {
  CpuTopology topology{allowed ? *allowed : affinity_mask(), {}, cgroup_quota(root)};
  topology.big = big_cpus(root, topology.allowed);
  return topology;
}

std::vector<std::size_t> parse_cpu_list(const std::string& text, const std::string& what) {
  std::vector<std::size_t> cpus;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    std::size_t first = 0, last = 0;
    char dash = 0;
    std::istringstream range(part);
    bool valid = !part.empty() && part.find_first_not_of("0123456789-\n ") == std::string::npos && range >> first;
    last = first;
    if (valid && range >> dash) valid = dash == '-' && range >> last && !(range >> dash);
    valid = valid && first <= last && last < kMostCpus;
    if (!valid)
      throw Error(ErrorCode::usage, what + " is \"" + text + "\"; expected CPU numbers and ranges such as 0-3,6");
    for (std::size_t cpu = first; cpu <= last; ++cpu)
      if (!contains(cpus, cpu)) cpus.push_back(cpu);
  }
  if (cpus.empty()) throw Error(ErrorCode::usage, what + " names no CPU; expected something like 0-3,6");
  return cpus;
}

void place_workers(ThreadPool& pool, const CpuTopology& topology, const std::string& affinity) {
  const char* variable = std::getenv("VOXTRAL_EDGE_AFFINITY");
  const bool from_variable = affinity.empty() && variable != nullptr;
  const std::string chosen = from_variable ? variable : affinity;
  if (chosen.empty() || chosen == "off") {
    const bool two_kinds = topology.big.size() < topology.allowed.size();
    if (two_kinds && pool.size() <= topology.big.size()) pool.place(topology.big, ThreadPool::Placement::any_of);
    return;
  }
  std::vector<std::size_t> cpus;
  if (chosen == "auto") {
    cpus = topology.big;
    for (const std::size_t cpu : topology.allowed)
      if (!contains(cpus, cpu)) cpus.push_back(cpu);
  } else {
    const std::string what = from_variable ? "environment variable VOXTRAL_EDGE_AFFINITY" : "affinity";
    cpus = parse_cpu_list(chosen, what);
    for (const std::size_t cpu : cpus) {
      if (contains(topology.allowed, cpu)) continue;
      std::string may;
      for (const std::size_t one : topology.allowed) may += (may.empty() ? "" : ", ") + std::to_string(one);
      throw Error(ErrorCode::usage, what + " names CPU " + std::to_string(cpu) + "; this process may use " + may);
    }
  }
  pool.place(cpus, ThreadPool::Placement::one_each);
}

}  // namespace voxtral_edge
