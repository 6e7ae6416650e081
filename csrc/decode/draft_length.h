// How many guesses a decode pass should verify: as many as bring tokens faster than a later pass would.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace voxtral_edge {

// A pass of r rows takes cost(r) and brings 1 + p1 + p1 p2 + ... tokens, where p1 .. p(r-1) are the chances of its
// guesses. With v = what a token has cost lately, the r of the largest v * tokens - cost(r) is the best: the classic
// rule for the largest ratio of two sums. cost(r) is what was measured at load, corrected by the passes' own times:
// what memory gives drifts by half within minutes, what multiply-adds take does not. Allocation-free after
// construction.
class DraftLength {
 public:
  // costs[r - 1]: time of a pass of r rows in any unit, at least one. More rows go on as the last two do.
  explicit DraftLength(std::span<const double> costs);

  void reset();
  // Guesses worth verifying: 0 .. chances.size(). chances[i]: that guess i is right where those before it are.
  std::size_t best(std::span<const float> chances) const;
  // A pass of `rows` rows has brought `tokens` in `seconds`.
  void passed(std::size_t rows, std::size_t tokens, double seconds);

 private:
  // Sums over the last passes, fading.
  struct Sums {
    double passes, tokens;
    double cost, time, cost_cost, cost_time;  // costs as given, times as measured
  };
  // time of a pass = mean time + slope * (its cost - mean cost)
  double slope() const;
  double time_of(std::size_t rows, double slope) const;
  double cost_of(std::size_t rows) const;

  std::vector<double> costs_;
  Sums sums_{};
  bool timed_ = false;  // until then times are costs
};

}  // namespace voxtral_edge
