#include "base/machine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <string>

#include "base/aligned_buffer.h"
#include "base/error.h"
#include "base/thread_pool.h"

namespace voxtral_edge {
namespace {

// Eight independent sums over whole cache lines: the loads are the limit, not the additions.
std::uint64_t sum_words(const std::uint64_t* words, std::size_t count) {
  std::uint64_t sums[8] = {};
  for (std::size_t i = 0; i + 8 <= count; i += 8) {
    for (std::size_t j = 0; j < 8; ++j) sums[j] += words[i + j];
  }
  std::uint64_t sum = 0;
  for (std::uint64_t s : sums) sum += s;
  return sum;
}

}  // namespace

double measure_read_bandwidth(std::size_t threads, std::size_t megabytes) {
  constexpr int kPasses = 6;
  constexpr std::size_t kMostMegabytes = std::size_t{1} << 20;
  if (megabytes < 1 || megabytes > kMostMegabytes) {
    throw Error(ErrorCode::usage,
                "megabytes: " + std::to_string(megabytes) + " is outside 1 to " + std::to_string(kMostMegabytes));
  }
  AlignedBuffer buffer(megabytes << 20);
  std::memset(buffer.data(), 1, buffer.bytes());  // an untouched page would be the shared zero page
  ThreadPool pool(threads);
  std::atomic<std::uint64_t> sink{0};
  double best = 0.0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    pool.run([&](std::size_t thread) {
      const auto [begin, end] = pool.share(buffer.bytes() / sizeof(std::uint64_t), thread);
      sink += sum_words(buffer.as<std::uint64_t>() + begin, end - begin);
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, static_cast<double>(buffer.bytes()) / seconds / 1e9);
  }
  return sink != 0 ? best : 0.0;
}

}  // namespace voxtral_edge
