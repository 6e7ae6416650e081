// Time between points of a sequence, for counters that are read often: one reading of the clock a lap, 20 to 40 ns.
#pragma once

#include <chrono>
#include <cstdint>

namespace voxtral_edge {

class Stopwatch {
 public:
  // Nanoseconds since the last lap, or since this was made.
  std::uint64_t lap_ns() {
    const auto now = std::chrono::steady_clock::now();
    const auto took = std::chrono::duration_cast<std::chrono::nanoseconds>(now - last_).count();
    last_ = now;
    return static_cast<std::uint64_t>(took);
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace voxtral_edge
