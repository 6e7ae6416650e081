// SHA-256 (FIPS 180-4): what the manifest says of every file. 0.3 GB/s on one thread (Zen 5); base/checksum.h is for
// what must be as quick as memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace voxtral_edge {

class Sha256 {
 public:
  void add(const void* data, std::size_t bytes);
  // 64 lower-case hexadecimal digits; nothing can be added afterwards.
  std::string finish();

 private:
  void add_block(const unsigned char* block);

  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> rest_{};  // the first bytes_ % 64 are waiting for their block
  std::uint64_t bytes_ = 0;
};

}  // namespace voxtral_edge
