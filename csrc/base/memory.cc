#include "base/memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>
#include <vector>

namespace voxtral_edge {
namespace {

constexpr std::uint64_t kNoLimit = UINT64_MAX;

// "Key: 12 kB" (in /proc) or "key 12" lines as bytes.
std::map<std::string, std::uint64_t> read_table(const std::string& path) {
  std::map<std::string, std::uint64_t> table;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string key, unit;
    std::uint64_t value = 0;
    if (!(fields >> key >> value)) continue;
    fields >> unit;
    if (key.back() == ':') key.pop_back();
    table[key] = unit == "kB" ? value * 1024 : value;
  }
  return table;
}

std::uint64_t value_of(const std::map<std::string, std::uint64_t>& table, const char* key, std::uint64_t otherwise) {
  const auto found = table.find(key);
  return found == table.end() ? otherwise : found->second;
}

// A file with one number; kNoLimit for none and for "max".
std::uint64_t read_limit(const std::string& path) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  return file >> value ? value : kNoLimit;
}

struct GroupLimit {
  std::uint64_t limit, left;
};

struct GroupFiles {  // of a control group's folder
  const char *limit, *used, *prefix;
};
constexpr GroupFiles kVersion2 = {"memory.max", "memory.current", ""};
constexpr GroupFiles kVersion1 = {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_"};

void add_limit(const std::string& folder, const GroupFiles& files, std::vector<GroupLimit>& limits) {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 60;  // version 1 writes "none" as a number beyond it
  const std::uint64_t limit = read_limit(folder + "/" + files.limit);
  if (limit > kMost) return;
  std::uint64_t used = read_limit(folder + "/" + files.used);
  if (used == kNoLimit) used = 0;
  const auto stat = read_table(folder + "/memory.stat");
  std::uint64_t cached = 0;  // can be dropped
  for (const char* kind : {"active_file", "inactive_file"}) {
    cached += value_of(stat, (files.prefix + std::string(kind)).c_str(), 0);
  }
  used -= std::min(used, cached);
  limits.push_back({limit, limit - std::min(limit, used)});
}

// From the process's group up to the mount point: a container sees its own as the root, a service is some folders
// below.
void add_limits(const std::string& mount, std::string path, const GroupFiles& files, std::vector<GroupLimit>& limits) {
  for (; path.size() > 1; path.resize(path.rfind('/'))) add_limit(mount + path, files, limits);
  add_limit(mount, files, limits);
}

std::vector<GroupLimit> group_limits(const std::string& root) {
  std::vector<GroupLimit> limits;
  std::ifstream groups(root + "/proc/self/cgroup");  // lines "number:controllers:/path"; v2 has no controllers
  bool listed = false;
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos || line.compare(second + 1, 1, "/") != 0) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
    if (controllers.empty()) add_limits(root + "/sys/fs/cgroup", path, kVersion2, limits);
    else if (controllers == "memory") add_limits(root + "/sys/fs/cgroup/memory", path, kVersion1, limits);
    listed = listed || controllers.empty();
  }
  if (!listed) add_limit(root + "/sys/fs/cgroup", kVersion2, limits);
  return limits;
}

std::uint64_t address_space_left(const std::string& root, std::optional<std::uint64_t> limit) {
  if (!limit) {
    rlimit own{};
    if (getrlimit(RLIMIT_AS, &own) != 0 || own.rlim_cur == RLIM_INFINITY) return kNoLimit;
    limit = own.rlim_cur;
  }
  const std::uint64_t used = value_of(read_table(root + "/proc/self/status"), "VmSize", 0);
  return *limit - std::min(*limit, used);
}

}  // namespace

MemoryFacts read_memory(const std::string& root, std::optional<std::uint64_t> address_space_limit) {
  const auto machine = read_table(root + "/proc/meminfo");
  MemoryFacts facts{};
  facts.total =
      value_of(machine, "MemTotal",
               static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)));
  facts.available = value_of(machine, "MemAvailable", facts.total);
  const std::vector<GroupLimit> limits = group_limits(root);
  for (const GroupLimit& group : limits) {
    facts.total = std::min(facts.total, group.limit);
    facts.available = std::min(facts.available, group.left);
  }
  // A group's limit on swap is not known here: count none.
  facts.obtainable = facts.available + (limits.empty() ? value_of(machine, "SwapFree", 0) : 0);
  facts.obtainable = std::min(facts.obtainable, address_space_left(root, address_space_limit));
  return facts;
}

}  // namespace voxtral_edge
