// Memory that this process can have, on made-up /proc and /sys trees, and an engine that is refused for lack of it.
#include "base/memory.h"

#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "base/aligned_buffer.h"
#include "base/error.h"
#include "check.h"
#include "error_text.h"
#include "temporary_folder.h"

using namespace voxtral_edge;

namespace {

constexpr std::uint64_t kUnlimited = UINT64_MAX;

class Root {
 public:
  Root() { write("/proc/meminfo", "MemTotal:    8000000 kB\nMemAvailable:  6000000 kB\nSwapFree:   1000000 kB"); }
  void write(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = folder_.path() + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }
  void expect(std::uint64_t total, std::uint64_t available, std::uint64_t obtainable,
              std::uint64_t limit = kUnlimited) const {
    const MemoryFacts facts = read_memory(folder_.path(), limit);
    CHECK_EQ(facts.total, total);
    CHECK_EQ(facts.available, available);
    CHECK_EQ(facts.obtainable, obtainable);
  }

 private:
  check::TemporaryFolder folder_;
};

}  // namespace

TEST("a machine without limits: swap can be had, too") {
  const Root root;
  root.expect(8'192'000'000, 6'144'000'000, 7'168'000'000);
}

TEST("limits of services and containers") {
  const Root root;
  root.write("/proc/self/cgroup", "0::/system.slice/speech.service");
  root.write("/sys/fs/cgroup/system.slice/memory.max", "max");
  root.expect(8'192'000'000, 6'144'000'000, 7'168'000'000);
  const std::string group = "/sys/fs/cgroup/system.slice/speech.service/memory";
  root.write(group + ".max", "4000000000");
  root.write(group + ".current", "3000000000");
  root.expect(4'000'000'000, 1'000'000'000, 1'000'000'000);
  root.write(group + ".stat", "anon 1000000000\nactive_file 500000000\ninactive_file 1500000000");
  root.expect(4'000'000'000, 3'000'000'000, 3'000'000'000);   // the page cache can go
  root.write("/sys/fs/cgroup/memory.max", "2000000000");      // a container, seen from inside
  root.write("/sys/fs/cgroup/memory.current", "9000000000");  // more than the limit: nothing is left
  root.expect(2'000'000'000, 0, 0);
}

TEST("a container whose /proc names no group, and control groups of version 1") {
  const Root inside;
  inside.write("/sys/fs/cgroup/memory.max", "2000000000");
  inside.expect(2'000'000'000, 2'000'000'000, 2'000'000'000);
  const Root old;
  old.write("/proc/self/cgroup", "4:cpu,cpuacct:/docker/a\n9:memory:/docker/a");
  old.write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712");  // none
  old.write("/sys/fs/cgroup/memory/docker/a/memory.limit_in_bytes", "1000000000");
  old.write("/sys/fs/cgroup/memory/docker/a/memory.usage_in_bytes", "700000000");
  old.write("/sys/fs/cgroup/memory/docker/a/memory.stat", "inactive_file 1\ntotal_inactive_file 200000000");
  old.expect(1'000'000'000, 500'000'000, 500'000'000);
}

TEST("an address space limit counts") {
  const Root root;
  root.write("/proc/self/status", "Name:\tx\nVmSize:\t  400000 kB");
  root.expect(8'192'000'000, 6'144'000'000, 590'400'000, 1'000'000'000);
  root.expect(8'192'000'000, 6'144'000'000, 0, 300'000'000);
}

TEST("this machine has memory") {
  const MemoryFacts facts = read_memory();
  CHECK(facts.total >= facts.available && facts.available > 0 && facts.obtainable > 0);
}

CHECK_MAIN()
