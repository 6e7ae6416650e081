// An engine whose tokens the test chooses: records what the stream asks for, or wraps a real engine.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "engine/engine.h"

namespace voxtral_edge::check {

// Answers generated token g with token(g), also where drafts are verified, and keeps the facts of the requests for the
// test to check. With `real` every pass also runs there, so that its costs (allocations, races) are the real ones.
// Serves one stream.
class ScriptedEngine final : public Engine {
 public:
  using Token = std::function<std::uint32_t(std::uint64_t generated)>;
  explicit ScriptedEngine(const ModelConfig& config, Token token, std::shared_ptr<Engine> real = nullptr,
                          std::vector<double> costs = {1.0})
      : config_(config), token_(std::move(token)), real_(std::move(real)), costs_(std::move(costs)) {}

  const ModelConfig& config() const override { return config_; }

  std::unique_ptr<EngineState> create_state(std::size_t delay_tokens, std::uint64_t first) override {
    encoded_tokens = decoded_positions = 0;
    previous_ids.clear();
    largest_encode = 0;
    prompt_ = 1 + config_.audio.left_pad_tokens + delay_tokens;
    return real_ ? real_->create_state(delay_tokens, first) : std::make_unique<EngineState>();
  }

  EncodeTimes encode(std::span<const EncodeRequest> requests) override {
    const EncodeTimes times = real_ ? real_->encode(requests) : EncodeTimes{};
    for (const EncodeRequest& r : requests) {
      encoded_tokens += r.tokens;
      largest_encode = std::max(largest_encode, r.tokens);
    }
    return times;
  }

  DecodeTimes decode(std::span<const DecodeRequest> requests) override {
    const DecodeTimes times = real_ ? real_->decode(requests) : DecodeTimes{};
    for (const DecodeRequest& r : requests) {
      if (record_ids) previous_ids.insert(previous_ids.end(), r.previous_ids, r.previous_ids + r.positions);
      decoded_positions += r.positions;
      for (std::size_t i = 0; i < r.results; ++i) {
        const std::uint64_t generated = decoded_positions - r.results + i + 1 - prompt_;
        r.choices[i] = {token_(generated), 0.5f};
        if (r.logits != nullptr && logits) logits(generated, r.logits + i * config_.decoder.vocab_size);
      }
    }
    return times;
  }

  void rewind(EngineState& state, std::size_t positions) override {
    if (real_) real_->rewind(state, positions);
    decoded_positions -= positions;
    if (record_ids) previous_ids.resize(previous_ids.size() - positions);
  }
  std::size_t preferred_batch_tokens() const override { return 8; }
  std::span<const double> decode_costs() const override { return costs_; }

  std::function<void(std::uint64_t generated, float* row)> logits;  // where a test needs them
  bool record_ids = true;
  std::uint64_t encoded_tokens = 0, decoded_positions = 0;
  std::size_t largest_encode = 0;
  std::vector<std::uint32_t> previous_ids;  // of every decoded position that was not taken back

 private:
  ModelConfig config_;
  Token token_;
  std::shared_ptr<Engine> real_;
  std::vector<double> costs_;
  std::uint64_t prompt_ = 0;
};

}  // namespace voxtral_edge::check
