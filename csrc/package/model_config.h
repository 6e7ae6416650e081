// Every dimension and constant of a package, as read and checked from its manifest. Nothing is defaulted.
#pragma once

#include <cstddef>
#include <cstdint>

namespace voxtral_edge {

struct EncoderConfig {
  std::size_t layers, width, heads, kv_heads, head_dim, ffn_width;
  std::size_t window_frames;  // keys a query sees, itself included (spec 4)
  std::size_t mel_bins;
  double rope_theta;
  float norm_eps;
};

inline constexpr std::size_t kMostFramesPerToken = 64;  // the 4B model groups 4

struct AdapterConfig {
  std::size_t frames_per_token;  // encoder frames grouped into one token
  std::size_t input_width, hidden_width, output_width;
};

struct DecoderConfig {
  std::size_t layers, width, heads, kv_heads, head_dim, ffn_width;
  std::size_t window_tokens;  // keys a query sees, itself included (spec 5)
  std::size_t vocab_size, delay_condition_width;
  double rope_theta;
  float norm_eps;
};

struct AudioConfig {
  std::size_t sample_rate_hz, hop_samples, window_samples, samples_per_token, mel_frames_per_token;
  float log_mel_max;
  std::size_t left_pad_tokens, right_pad_extra_tokens, default_delay_tokens;
};

struct TokenConfig {
  std::uint32_t bos, eos, streaming_pad, streaming_word;
  std::size_t special_count, vocab_size;
};

struct ModelConfig {
  EncoderConfig encoder;
  AdapterConfig adapter;
  DecoderConfig decoder;
  AudioConfig audio;
  TokenConfig tokens;
};

class JsonValue;
// Reads "config", "audio" and "tokens" of a manifest. Error(model_format) naming the field for anything missing, out of
// bounds or inconsistent with the others, so that no later product of dimensions can overflow 64 bits.
ModelConfig read_model_config(const JsonValue& manifest);

}  // namespace voxtral_edge
