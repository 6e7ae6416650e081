#include "decode/pad_run.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace voxtral_edge {

PadRun::PadRun(const PadRunPenalty& penalty, std::uint32_t pad_id) : penalty_(penalty), pad_id_(pad_id) {
  const auto usable = [](float value) { return std::isfinite(value) && value >= 0.0f; };
  if (!usable(penalty.per_token) || !usable(penalty.most)) {
    throw Error(ErrorCode::usage, "pad_run_penalty: its numbers must be finite and not negative");
  }
}

TokenChoice PadRun::choose(TokenChoice unbiased, const float* logits, std::size_t vocab_size) const {
  if (unbiased.id != pad_id_ || run_ < penalty_.after_tokens) return unbiased;
  // This pad would be number run_ + 1.
  const auto beyond = static_cast<float>(run_ + 1 - penalty_.after_tokens);
  const float penalised = logits[pad_id_] - std::min(penalty_.most, penalty_.per_token * beyond);
  std::uint32_t best = pad_id_;
  float best_logit = penalised;
  for (std::uint32_t id = 0; id < vocab_size; ++id) {
    if (id != pad_id_ && logits[id] > best_logit) {
      best = id;
      best_logit = logits[id];
    }
  }
  return {best, unbiased.probability * std::exp(logits[best] - logits[unbiased.id])};
}

}  // namespace voxtral_edge
