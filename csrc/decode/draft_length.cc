#include "decode/draft_length.h"

#include <algorithm>

namespace voxtral_edge {
namespace {

constexpr double kKept = 0.98;  // per pass: the last fifty, some 16 s of audio
// Before anything is known: five passes of four rows have brought ten tokens.
constexpr std::size_t kFirstRows = 4;
constexpr double kFirstPasses = 5.0, kFirstTokens = 10.0;
// The slope is the least-squares one, drawn towards costs being right by this much (variance of costs times passes),
// and kept within these multiples of it.
constexpr double kTrust = 0.5, kLeastSlope = 0.5, kMostSlope = 1.5;
constexpr double kOutlier = 2.0;  // a pass that was interrupted counts as no more than twice what was expected

}  // namespace

DraftLength::DraftLength(std::span<const double> costs) : costs_(costs.begin(), costs.end()) { reset(); }

void DraftLength::reset() {
  const double cost = cost_of(kFirstRows);
  sums_ = {kFirstPasses,
           kFirstTokens,
           kFirstPasses * cost,
           kFirstPasses * cost,
           kFirstPasses * cost * cost,
           kFirstPasses * cost * cost};
  timed_ = false;
}

double DraftLength::cost_of(std::size_t rows) const {
  const std::size_t known = costs_.size();
  if (rows <= known) return costs_[rows - 1];
  const double step = known > 1 ? costs_[known - 1] - costs_[known - 2] : 0.0;
  return costs_.back() + step * static_cast<double>(rows - known);
}

double DraftLength::slope() const {
  const double proportional = sums_.time / sums_.cost;
  const double variance = sums_.cost_cost - sums_.cost * sums_.cost / sums_.passes;
  const double covariance = sums_.cost_time - sums_.cost * sums_.time / sums_.passes;
  return std::clamp((covariance + kTrust * proportional) / (variance + kTrust), kLeastSlope * proportional,
                    kMostSlope * proportional);
}

double DraftLength::time_of(std::size_t rows, double slope) const {
  return (sums_.time + slope * (sums_.passes * cost_of(rows) - sums_.cost)) / sums_.passes;
}

std::size_t DraftLength::best(std::span<const float> chances) const {
  const double value = sums_.time / sums_.tokens, per_cost = slope();
  double reached = 1.0, tokens = 1.0, best_gain = value - time_of(1, per_cost);
  std::size_t best = 0;
  for (std::size_t count = 1; count <= chances.size(); ++count) {
    reached *= static_cast<double>(chances[count - 1]);
    tokens += reached;
    const double gain = value * tokens - time_of(count + 1, per_cost);
    if (gain < best_gain) continue;  // equal: a guess that costs nothing is worth a try
    best_gain = gain;
    best = count;
  }
  return best;
}

void DraftLength::passed(std::size_t rows, std::size_t tokens, double seconds) {
  const double cost = cost_of(rows);
  if (!timed_) {
    timed_ = true;
    sums_.time *= seconds / cost;
    sums_.cost_time *= seconds / cost;
  }
  const double time = std::min(seconds, kOutlier * time_of(rows, slope()));
  sums_ = {kKept * sums_.passes + 1.0,
           kKept * sums_.tokens + static_cast<double>(tokens),
           kKept * sums_.cost + cost,
           kKept * sums_.time + time,
           kKept * sums_.cost_cost + cost * cost,
           kKept * sums_.cost_time + cost * time};
}

}  // namespace voxtral_edge
