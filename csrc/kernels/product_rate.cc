#include "kernels/product_rate.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/error.h"

namespace voxtral_edge {
namespace {

// 36 KB of q4 and 68 KB of q8 weights: inside the second cache of every core, wide enough that its sums' ends vanish.
constexpr std::size_t kOutputs = 32, kColumns = 2048;

// What one thread multiplies. All zeros: the speed of integer products does not depend on the values.
struct Work {
  Work(WeightType type, std::size_t rows)
      : weights(type, kOutputs, kColumns),
        values(rows * kColumns),
        scales(rows * kColumns / kBlockColumns * sizeof(float)),
        sums(rows * kColumns / kBlockColumns * sizeof(std::int32_t)),
        out(rows * kOutputs * sizeof(float)),
        x{values.as<std::int8_t>(), scales.as<float>(), sums.as<std::int32_t>(), kColumns} {}

  void run(const Kernels& kernels, std::size_t rows, std::size_t repeats) {
    const auto product = weights.type() == WeightType::q4 ? kernels.matmul_q4 : kernels.matmul_q8;
    for (std::size_t i = 0; i < repeats; ++i) {
      product(weights.data(), x, rows, 0, weights.groups(), nullptr, out.as<float>(), kOutputs);
    }
  }

  PackedMatrix weights;
  AlignedBuffer values, scales, sums, out;
  QuantizedRows x;
};

}  // namespace

double measure_product_rate(const Kernels& kernels, ThreadPool& pool, WeightType type, std::size_t rows) {
  if (rows == 0 || (type != WeightType::q4 && type != WeightType::q8)) {
    throw Error(ErrorCode::usage, "product rates are those of q4 and q8 with at least one row");
  }
  constexpr int kPasses = 8;             // the first ones also wake the clock
  constexpr double kPassSeconds = 4e-3;  // a thousand times what starting a section takes
  using Clock = std::chrono::steady_clock;
  std::vector<Work> work;
  for (std::size_t i = 0; i < pool.size(); ++i) work.emplace_back(type, rows);
  const auto timed = [&](std::size_t repeats) {
    const auto start = Clock::now();
    pool.run([&](std::size_t thread) { work[thread].run(kernels, rows, repeats); });
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  std::size_t repeats = 1;
  while (timed(repeats) < kPassSeconds / 2) repeats *= 2;
  double best = 0.0;
  const double multiply_adds = static_cast<double>(kOutputs * kColumns * rows * repeats * pool.size());
  for (int pass = 0; pass < kPasses; ++pass) best = std::max(best, multiply_adds / timed(repeats));
  return best;
}

}  // namespace voxtral_edge
