// What a model must offer to the streaming loop: two passes, encode and decode, over states that the streams own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/error.h"
#include "engine/warm_start.h"
#include "model/head.h"
#include "package/model_config.h"

namespace voxtral_edge {

// Everything one stream has told one model so far: KV rings, conv tails, positions. Created by the engine, owned by the
// stream. The model itself is immutable and shared.
class EngineState {
 public:
  virtual ~EngineState() = default;
};

// tokens * mel_frames_per_token new mel frames of one stream.
struct EncodeRequest {
  EngineState* state;
  const float* mel;  // [tokens * mel_frames_per_token][mel_bins]
  std::size_t tokens;
  float* audio_embeddings;  // out [tokens][decoder width]
  float* encoder_frames;    // out [tokens * frames_per_token][encoder width], or null
};

// Consecutive new positions of one stream. The last `results` of them are read out.
struct DecodeRequest {
  EngineState* state;
  const float* audio_embeddings;      // [positions][decoder width]
  const std::uint32_t* previous_ids;  // [positions] token at each position, all < vocab_size
  std::size_t positions;
  std::size_t results;   // 0 .. positions
  TokenChoice* choices;  // out [results]
  float* logits;         // out [results][vocab_size], or null
};

// What the stages of a call took, summed over its passes; waiting for other threads' passes is none of them.
struct EncodeTimes {
  std::uint64_t conv_ns = 0, encoder_ns = 0, adapter_ns = 0;

  EncodeTimes& operator+=(const EncodeTimes& other) {
    conv_ns += other.conv_ns;
    encoder_ns += other.encoder_ns;
    adapter_ns += other.adapter_ns;
    return *this;
  }
};
struct DecodeTimes {
  std::uint64_t decoder_ns = 0, head_ns = 0;  // head: logits and the choice of the token

  DecodeTimes& operator+=(const DecodeTimes& other) {
    decoder_ns += other.decoder_ns;
    head_ns += other.head_ns;
    return *this;
  }
};

class Engine {
 public:
  virtual ~Engine() = default;

  virtual const ModelConfig& config() const = 0;

  // A state whose first audio token has this absolute position, conditioned on a delay in tokens (80 ms).
  virtual std::unique_ptr<EngineState> create_state(std::size_t delay_tokens, std::uint64_t first_token_position) = 0;

  // An independent copy of a state; null from engines that cannot copy one.
  virtual std::unique_ptr<EngineState> copy_state(const EngineState&) { return nullptr; }

  // Makes a new state cost what it costs once its windows are full; its results mean nothing then. For benchmarks.
  // Error(usage) from engines whose cost does not grow with the stream.
  virtual void assume_full_windows(EngineState&) {
    throw Error(ErrorCode::usage, "assume_full_cache: only the native engine's steps grow with the stream");
  }

  // One pass over the weights for all requests together (several streams share it). Any number of tokens; passes are
  // split at kMaxPassRows rows. Results of a request do not depend on its neighbours. Thread-safe.
  virtual EncodeTimes encode(std::span<const EncodeRequest> requests) = 0;
  virtual DecodeTimes decode(std::span<const DecodeRequest> requests) = 0;

  // Whether encode and decode know what their stages took; if not, they return zeros.
  virtual bool times_stages() const { return false; }

  // Takes back the last `positions` decoded positions (rejected drafts), up to kMaxPassRows - 1 since the last
  // accepted.
  virtual void rewind(EngineState& state, std::size_t positions) = 0;

  // Keys and values of a state that were beyond the range of what they are kept in, and cut at its ends.
  virtual std::uint64_t saturated_numbers(const EngineState&) const { return 0; }

  // Tokens of audio that one encode call is best given when more than one is waiting.
  virtual std::size_t preferred_batch_tokens() const = 0;

  // Relative times of decode passes of 1, 2, ... rows: how many drafts are worth verifying, at most one less than
  // these, when audio is ahead of text. One alone where a row's result may depend on the rows beside it, so that drafts
  // could change the text.
  virtual std::span<const double> decode_costs() const = 0;

  WarmStarts& warm_starts() { return warm_starts_; }

 private:
  WarmStarts warm_starts_;
};

}  // namespace voxtral_edge
