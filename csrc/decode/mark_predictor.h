// Guesses from the audio embeddings, which are known ahead of the text, where the next word marks will be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace voxtral_edge {

// Logistic regression on the embeddings of the frames around the one that ended `delay_tokens` ago (a word mark says
// that a word ended there, spec 6), learned from the tokens that the model chose in this stream: AdaGrad, one step per
// token, no randomness. Costs 5 * width multiplications per guess; nothing allocates after construction.
class MarkPredictor {
 public:
  // `positions_ahead`: embeddings that may be heard before the token at the oldest of their positions is learned.
  MarkPredictor(std::size_t width, std::size_t delay_tokens, std::size_t positions_ahead);

  // Forgets everything; the next embedding heard belongs to decoder position `position`.
  void reset(std::uint64_t position);
  // The next `count` audio embeddings [count][width]. One that holds a NaN, infinity or more than 1e15 says nothing.
  void hear(const float* embeddings, std::size_t count);
  // Log odds that the token at a position that was heard is a word mark: a finite number.
  float log_odds(std::uint64_t position) const;
  // What the token at a position that was heard really was; `odds` = log_odds(position).
  void learn(std::uint64_t position, float odds, bool is_mark);

 private:
  // Calls f(first weight, frame [width]) for each frame that the token at `position` depends on.
  template <class F>
  void for_each_frame(std::uint64_t position, F&& f) const;

  std::size_t width_, first_lag_, lags_, slots_;
  float scale_;                             // keeps the sum over lags_ * width_ features near 1
  std::vector<float> frames_;               // [slots_][width_] ring by position, normalised and scaled
  std::vector<float> mean_, square_;        // [width_] running mean and variance of the embeddings
  std::vector<float> weights_, gradients_;  // [lags_][width_]; sums of squared gradients
  float offset_ = 0.0f;
  std::uint64_t first_ = 0, end_ = 0;  // positions heard: [first_, end_)
};

}  // namespace voxtral_edge
