// The choice of a token from the statistics of chunks of logits.
#include "model/head.h"

#include <cmath>
#include <vector>

#include "base/error.h"
#include "check.h"
#include "kernels/registry.h"

namespace voxtral_edge {
namespace {

TokenChoice choose(const Kernels& kernels, const std::vector<float>& logits, std::size_t chunk) {
  std::vector<LogitStats> stats;
  for (std::size_t begin = 0; begin < logits.size(); begin += chunk)
    stats.push_back(kernels.logit_stats(&logits[begin], std::min(chunk, logits.size() - begin)));
  return choose_token(stats.data(), stats.size(), chunk);
}

}  // namespace

TEST("the largest logit of all chunks, its softmax probability, and the lowest id on a tie") {
  for (const Kernels* kernels : available_kernels()) {
    std::vector<float> logits(100, 0.0f);
    logits[37] = logits[81] = 2.0f;
    const TokenChoice choice = choose(*kernels, logits, 16);
    CHECK_EQ(choice.id, 37u);
    CHECK_NEAR(choice.probability, std::exp(2.0) / (2.0 * std::exp(2.0) + 98.0), 1e-6);
    logits[90] = -1e30f;  // a token that is ruled out is no damage
    CHECK_EQ(choose(*kernels, logits, 16).id, 37u);
  }
}

TEST("logits that are not finite are an error, wherever they stand, and never a token") {
  for (const Kernels* kernels : available_kernels()) {
    for (const float bad : {NAN, INFINITY}) {
      for (const std::size_t at : {std::size_t{0}, std::size_t{50}, std::size_t{99}}) {
        std::vector<float> logits(100, 1.0f);
        logits[at] = bad;
        CHECK_THROWS_CODE(choose(*kernels, logits, 16), ErrorCode::model_format);
      }
      CHECK_THROWS_CODE(choose(*kernels, std::vector<float>(100, bad), 16), ErrorCode::model_format);
    }
  }
}

}  // namespace voxtral_edge

CHECK_MAIN()
