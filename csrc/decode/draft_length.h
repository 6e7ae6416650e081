// How many guesses a decode pass should verify: as many as bring tokens faster than a later pass would.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace voxtral_edge {

// A pass of r rows takes cost(r) and brings 1 + p1 + p1 p2 + ... tokens, where p1 .. p(r-1) are the chances of its
// guesses. With v = what a token has cost lately, the r of the largest v * tokens - cost(r) is the best: the classic
// rule for the largest ratio of two sums. Deterministic, allocation-free after construction.
class DraftLength {
 public:
  // costs[r - 1]: time of a pass of r rows in any unit, at least one. More rows go on as the last two do.
  explicit DraftLength(std::span<const double> costs);

  void reset();
  // Guesses worth verifying: 0 .. chances.size(). chances[i]: that guess i is right where those before it are.
  std::size_t best(std::span<const float> chances) const;
  // A pass of `rows` rows has brought `tokens`.
  void passed(std::size_t rows, std::size_t tokens);

 private:
  double cost(std::size_t rows) const;

  std::vector<double> costs_;
  double spent_ = 0.0, tokens_ = 0.0;  // lately, fading
};

}  // namespace voxtral_edge
