#include "kernels/integer_peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace voxtral_edge {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

double measure_integer_peak(const Kernels& kernels, ThreadPool& pool) {
  constexpr int kPasses = 12;            // the first ones also wake the clock
  constexpr double kPassSeconds = 4e-3;  // a thousand times what starting a section takes
  std::size_t repeats = 1000;
  for (double took = 0.0; took < kPassSeconds / 2; repeats *= 2) {
    const auto start = Clock::now();
    kernels.integer_work(repeats);
    took = seconds_since(start);
  }
  double best = 0.0;
  for (int pass = 0; pass < kPasses; ++pass) {
    std::atomic<std::uint64_t> work{0};
    const auto start = Clock::now();
    pool.run([&](std::size_t) { work += kernels.integer_work(repeats); });
    best = std::max(best, static_cast<double>(work.load()) / seconds_since(start));
  }
  return best;
}

}  // namespace voxtral_edge
