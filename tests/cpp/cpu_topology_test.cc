// CPU topology: kinds of cores, cgroup limits and affinity lists, on made-up /sys and /proc trees.
#include "base/cpu_topology.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "check.h"
#include "temporary_folder.h"

#if defined(__linux__)
#include <sched.h>
#endif

using namespace voxtral_edge;

namespace {

using Cpus = std::vector<std::size_t>;

// A root folder to be filled with files.
class Root {
 public:
  void write(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = folder_.path() + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }
  void write_per_cpu(const char* name, const std::vector<int>& values) const {
    for (std::size_t cpu = 0; cpu < values.size(); ++cpu)
      write("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/" + name, std::to_string(values[cpu]));
  }
  CpuTopology read(const Cpus& allowed) const { return read_cpu_topology(folder_.path(), &allowed); }

 private:
  check::TemporaryFolder folder_;
};

}  // namespace

TEST("nothing known: all CPUs are big, eight threads at most") {
  const Root root;
  CHECK(root.read({0, 1, 2}).big == Cpus({0, 1, 2}));
  CHECK_EQ(root.read({0, 1, 2}).default_threads(), std::size_t{3});
  CHECK_EQ(root.read({0, 1, 2, 3, 4, 5, 6, 7, 8, 9}).default_threads(), std::size_t{8});
  CHECK_EQ(root.read({0, 1, 2}).quota, SIZE_MAX);
}

TEST("big.LITTLE by capacity; only allowed CPUs count") {
  const Root root;
  root.write_per_cpu("cpu_capacity", {414, 414, 414, 414, 1024, 1024, 871, 871});
  CHECK(root.read({0, 1, 2, 3, 4, 5, 6, 7}).big == Cpus({4, 5, 6, 7}));
  CHECK(root.read({0, 1, 6}).big == Cpus({6}));
  CHECK(root.read({0, 1}).big == Cpus({0, 1}));
  CHECK_EQ(root.read({0, 1, 2, 3, 4, 5}).default_threads(), std::size_t{2});
  CHECK_EQ(root.read({0, 1, 2, 3, 4, 5}).usable(), std::size_t{6});
}

TEST("hybrid x86 by kind of core, whatever the clocks say") {
  const Root root;
  root.write_per_cpu("cpufreq/cpuinfo_max_freq", {4700000, 4700000, 4700000, 4700000});
  root.write("/sys/devices/cpu_atom/cpus", "2-3");
  CHECK(root.read({0, 1, 2, 3}).big == Cpus({0, 1}));
}

TEST("by clock: favoured cores are no other kind, compact ones are") {
  const Root root;
  root.write_per_cpu("cpufreq/cpuinfo_max_freq", {5100000, 5000000, 3300000, 3300000});
  CHECK(root.read({0, 1, 2, 3}).big == Cpus({0, 1}));
  CHECK(root.read({0, 1, 2, 3, 4}).big == Cpus({0, 1, 2, 3, 4}));  // CPU 4 has no file: nothing is known
}

TEST("cgroup v2: the group's own limit and those above it") {
  const Root root;
  root.write("/proc/self/cgroup", "0::/system.slice/voxtral.service");
  root.write("/sys/fs/cgroup/system.slice/voxtral.service/cpu.max", "max 100000");
  CHECK_EQ(root.read({0, 1, 2, 3}).quota, SIZE_MAX);
  root.write("/sys/fs/cgroup/system.slice/cpu.max", "250000 100000");
  CHECK_EQ(root.read({0, 1, 2, 3}).usable(), std::size_t{3});
  root.write("/sys/fs/cgroup/system.slice/voxtral.service/cpu.max", "20000 100000");
  CHECK_EQ(root.read({0, 1, 2, 3}).default_threads(), std::size_t{1});
}

TEST("cgroup v1, and a container that sees only its own group") {
  const Root old;
  old.write("/proc/self/cgroup", "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc");
  old.write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000");
  old.write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000");
  CHECK_EQ(old.read({0, 1, 2, 3}).usable(), std::size_t{2});
  old.write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1");
  CHECK_EQ(old.read({0, 1, 2, 3}).quota, SIZE_MAX);
  const Root container;
  container.write("/sys/fs/cgroup/cpu.max", "150000 100000");
  CHECK_EQ(container.read({0, 1, 2, 3}).usable(), std::size_t{2});
}

TEST("CPU lists") {
  CHECK(parse_cpu_list("0-3,6", "x") == Cpus({0, 1, 2, 3, 6}));
  CHECK(parse_cpu_list("5,2,5", "x") == Cpus({5, 2}));
  for (const char* text : {"", "a", "3-1", "1-", "-1", "1,,2", "1-2-3", "99999999", "0x1"})
    CHECK_THROWS_CODE(parse_cpu_list(text, "x"), ErrorCode::usage);
}

#if defined(__linux__)

TEST("workers are placed: on one CPU each, on the big ones, and not at all") {
  ::unsetenv("VOXTRAL_EDGE_AFFINITY");
  CpuTopology topology = read_cpu_topology();
  // The masks of the calling thread and of the worker, from a section that the worker itself has taken part in.
  const auto masks_of = [](ThreadPool& pool) {
    std::vector<Cpus> masks(pool.size());
    const auto caller = std::this_thread::get_id();
    for (std::atomic<bool> worker_came{false}; !worker_came;)
      pool.run([&](std::size_t thread) {
        if (thread == 0)
          std::this_thread::sleep_for(std::chrono::milliseconds(1));  // else it takes a late worker's share
        else if (std::this_thread::get_id() != caller) worker_came = true;
        cpu_set_t set;
        sched_getaffinity(0, sizeof set, &set);
        masks[thread].clear();
        for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu)
          if (CPU_ISSET(cpu, &set)) masks[thread].push_back(cpu);
      });
    return masks;
  };
  ThreadPool pool(2);
  place_workers(pool, topology, "");
  CHECK(masks_of(pool)[1] == topology.allowed);
  const std::size_t last = topology.allowed.back();
  place_workers(pool, topology, std::to_string(topology.allowed.front()) + "," + std::to_string(last));
  CHECK(masks_of(pool)[1] == Cpus({last}));
  CHECK(masks_of(pool)[0] == topology.allowed);
  ::setenv("VOXTRAL_EDGE_AFFINITY", std::to_string(topology.allowed.front()).c_str(), 1);
  place_workers(pool, topology, "");
  CHECK(masks_of(pool)[1] == Cpus({topology.allowed.front()}));
  ::setenv("VOXTRAL_EDGE_AFFINITY", "nonsense", 1);
  CHECK_THROWS_CODE(place_workers(pool, topology, ""), ErrorCode::usage);
  place_workers(pool, topology, "auto");  // goes before the variable
  ::unsetenv("VOXTRAL_EDGE_AFFINITY");
  CHECK_THROWS_CODE(place_workers(pool, topology, std::to_string(last + 1)), ErrorCode::usage);
  if (topology.allowed.size() < 3) return;
  ThreadPool preferring(2);
  topology.big = {topology.allowed[0], topology.allowed[1]};
  place_workers(preferring, topology, "off");
  CHECK(masks_of(preferring)[1] == topology.big);
}

#endif

CHECK_MAIN()
