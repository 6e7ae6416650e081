// How much memory this process can have.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace voxtral_edge {

struct MemoryFacts {
  std::uint64_t total;       // bytes; a container's or service's limit counts as the machine's
  std::uint64_t available;   // of it, what is free or could be dropped
  std::uint64_t obtainable;  // the most this process could still take: what is available, swap, within ulimit -v
};

// Reads /proc and /sys. cgroups: v2 and v1, the process's own and those above it. `root` and `address_space_limit`
// replace the file system's root and the process's limit (tests).
MemoryFacts read_memory(const std::string& root = "", std::optional<std::uint64_t> address_space_limit = std::nullopt);

}  // namespace voxtral_edge
