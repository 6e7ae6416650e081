// A way out of the "blank rut": after minutes of pads the model may go on with pads over real speech, because the pads
// it wrote itself look like silence to it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "model/head.h"

namespace voxtral_edge {

// The pad's logit loses min(most, per_token * (run - after_tokens)) once a run of pads is longer than after_tokens.
// The defaults are those of the reference server (vLLM pull request 47615), measured on the published 4B model: natural
// pauses reach 165 pads; in a rut the pad leads by 3.5 to 6.6, in true silence by 8.5 and more. A model with smaller
// leads in silence needs a smaller `most`, or it will speak where nobody does.
struct PadRunPenalty {
  std::uint64_t after_tokens = 200;  // 16 s
  float per_token = 0.5f;
  float most = 7.0f;
};

// The run of one stream. It only ever moves a pad to the best other token.
class PadRun {
 public:
  // Error(usage) for numbers that are negative or not finite.
  PadRun(const PadRunPenalty& penalty, std::uint32_t pad_id);

  void reset() { run_ = 0; }
  void advance(std::uint32_t id) { run_ = id == pad_id_ ? run_ + 1 : 0; }

  // Whether any of the next `tokens` choices may need logits.
  bool wants_logits(std::size_t tokens) const { return run_ + tokens > penalty_.after_tokens; }
  // The token to take, given the model's own choice and its logits [vocab_size]. The probability returned is the
  // model's own for that token.
  TokenChoice choose(TokenChoice unbiased, const float* logits, std::size_t vocab_size) const;

 private:
  PadRunPenalty penalty_;
  std::uint32_t pad_id_;
  std::uint64_t run_ = 0;  // tokens
};

}  // namespace voxtral_edge
