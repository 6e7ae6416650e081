#include "base/checksum.h"

#include <cstring>

namespace voxtral_edge {
namespace {

constexpr std::size_t kLanes = 8;

// The finaliser of splitmix64: a bijection, so nothing that the sums told apart falls together.
std::uint64_t mixed(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

std::uint64_t checksum(const void* data, std::size_t bytes) {
  const auto* from = static_cast<const unsigned char*>(data);
  std::uint64_t sums[kLanes] = {}, weighted[kLanes] = {}, words[kLanes];
  const auto add = [&] {
    for (std::size_t j = 0; j < kLanes; ++j) {
      sums[j] += words[j];
      weighted[j] += sums[j];
    }
  };
  std::size_t done = 0;
  for (; bytes - done >= sizeof words; done += sizeof words) {
    std::memcpy(words, from + done, sizeof words);
    add();
  }
  if (done < bytes) {
    std::memset(words, 0, sizeof words);
    std::memcpy(words, from + done, bytes - done);
    add();
  }
  std::uint64_t result = mixed(bytes + 1);  // zeros at the end are told apart by the length
  for (std::size_t j = 0; j < kLanes; ++j) result = mixed(mixed(result ^ sums[j]) ^ weighted[j]);
  return result;
}

}  // namespace voxtral_edge
