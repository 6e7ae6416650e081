#include "decode/draft_length.h"

#include <algorithm>

namespace voxtral_edge {
namespace {

constexpr double kKept = 0.98;  // per pass: the last fifty, some 16 s of audio
// Before anything is known: passes of four rows bring two tokens. Counts as ten tokens.
constexpr std::size_t kFirstRows = 4;
constexpr double kFirstPasses = 5.0, kFirstTokens = 10.0;

}  // namespace

DraftLength::DraftLength(std::span<const double> costs) : costs_(costs.begin(), costs.end()) { reset(); }

void DraftLength::reset() {
  spent_ = kFirstPasses * cost(kFirstRows);
  tokens_ = kFirstTokens;
}

double DraftLength::cost(std::size_t rows) const {
  const std::size_t known = costs_.size();
  if (rows <= known) return costs_[rows - 1];
  const double step = known > 1 ? costs_[known - 1] - costs_[known - 2] : 0.0;
  return costs_.back() + step * static_cast<double>(rows - known);
}

std::size_t DraftLength::best(std::span<const float> chances) const {
  const double value = spent_ / tokens_;
  double reached = 1.0, tokens = 1.0, best_gain = value - cost(1);
  std::size_t best = 0;
  for (std::size_t count = 1; count <= chances.size(); ++count) {
    reached *= static_cast<double>(chances[count - 1]);
    tokens += reached;
    const double gain = value * tokens - cost(count + 1);
    if (gain < best_gain) continue;  // equal: a guess that costs nothing is worth a try
    best_gain = gain;
    best = count;
  }
  return best;
}

void DraftLength::passed(std::size_t rows, std::size_t tokens) {
  spent_ = kKept * spent_ + cost(rows);
  tokens_ = kKept * tokens_ + static_cast<double>(tokens);
}

}  // namespace voxtral_edge
