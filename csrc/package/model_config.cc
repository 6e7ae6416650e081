#include "package/model_config.h"

#include <string>

#include "package/json.h"

namespace voxtral_edge {

namespace {

// Bounds far above the 4B model (32 layers, width 3072, window 8192, vocabulary 131072) and low enough that layers x
// window x heads x head_dim x 4 bytes stays below 2^63.
constexpr std::int64_t kMostLayers = 1024;
constexpr std::int64_t kMostHeads = 1024;
constexpr std::int64_t kMostHeadDim = 1024;
constexpr std::int64_t kMostWidth = 1 << 16;
constexpr std::int64_t kMostFfnWidth = 1 << 20;
constexpr std::int64_t kMostWindow = 1 << 20;
constexpr std::int64_t kMostVocabulary = 1 << 24;
constexpr std::int64_t kMostPadTokens = 4096;
// Ten times the 4B model's: a window of two times a prime costs the DFT 8 N^2 bytes of tables, here 34 MB at most.
constexpr std::int64_t kMostWindowSamples = 1 << 12;

std::size_t dimension(const JsonValue& object, const char* key, std::int64_t most, std::int64_t least = 1) {
  return static_cast<std::size_t>(object.at(key).as_integer(least, most));
}

double rope_theta(const JsonValue& object) { return object.at("rope_theta").as_number(1.0, 1e15); }

float norm_eps(const JsonValue& object) { return static_cast<float>(object.at("norm_eps").as_number(1e-30, 1.0)); }

void require_equal(const JsonValue& object, const char* key, std::size_t expected, const std::string& because) {
  const JsonValue value = object.at(key);
  if (value.as_integer(0, INT64_MAX) != static_cast<std::int64_t>(expected)) {
    value.fail_expected(std::to_string(expected) + " (" + because + ")");
  }
}

// Rope turns pairs of a head's values, and grouped attention gives each key/value head a whole number of query heads.
void check_heads(const JsonValue& object, std::size_t heads, std::size_t kv_heads, std::size_t head_dim) {
  if (head_dim % 2 != 0) object.at("head_dim").fail_expected("an even number (rope turns pairs)");
  if (heads % kv_heads != 0) {
    object.at("kv_heads").fail_expected("a divisor of heads, which is " + std::to_string(heads));
  }
}

EncoderConfig read_encoder(const JsonValue& object) {
  EncoderConfig encoder{};
  encoder.layers = dimension(object, "layers", kMostLayers);
  encoder.width = dimension(object, "width", kMostWidth);
  encoder.heads = dimension(object, "heads", kMostHeads);
  encoder.kv_heads = dimension(object, "kv_heads", kMostHeads);
  encoder.head_dim = dimension(object, "head_dim", kMostHeadDim);
  encoder.ffn_width = dimension(object, "ffn_width", kMostFfnWidth);
  encoder.window_frames = dimension(object, "window_frames", kMostWindow);
  encoder.mel_bins = dimension(object, "mel_bins", 1024);
  encoder.rope_theta = rope_theta(object);
  encoder.norm_eps = norm_eps(object);
  check_heads(object, encoder.heads, encoder.kv_heads, encoder.head_dim);
  return encoder;
}

DecoderConfig read_decoder(const JsonValue& object) {
  DecoderConfig decoder{};
  decoder.layers = dimension(object, "layers", kMostLayers);
  decoder.width = dimension(object, "width", kMostWidth);
  decoder.heads = dimension(object, "heads", kMostHeads);
  decoder.kv_heads = dimension(object, "kv_heads", kMostHeads);
  decoder.head_dim = dimension(object, "head_dim", kMostHeadDim);
  decoder.ffn_width = dimension(object, "ffn_width", kMostFfnWidth);
  decoder.window_tokens = dimension(object, "window_tokens", kMostWindow);
  decoder.vocab_size = dimension(object, "vocab_size", kMostVocabulary);
  decoder.delay_condition_width = dimension(object, "delay_condition_width", kMostWidth);
  decoder.rope_theta = rope_theta(object);
  decoder.norm_eps = norm_eps(object);
  check_heads(object, decoder.heads, decoder.kv_heads, decoder.head_dim);
  if (decoder.width % 2 != 0) {
    object.at("width").fail_expected("an even number (the delay embedding is half cosines, half sines)");
  }
  return decoder;
}

AdapterConfig read_adapter(const JsonValue& object, const EncoderConfig& encoder, const DecoderConfig& decoder) {
  AdapterConfig adapter{};
  adapter.frames_per_token = dimension(object, "frames_per_token", kMostFramesPerToken);
  adapter.hidden_width = dimension(object, "hidden_width", kMostFfnWidth);
  adapter.input_width = adapter.frames_per_token * encoder.width;
  adapter.output_width = decoder.width;
  require_equal(object, "input_width", adapter.input_width, "frames_per_token times encoder.width");
  require_equal(object, "output_width", adapter.output_width, "decoder.width");
  return adapter;
}

AudioConfig read_audio(const JsonValue& object, const AdapterConfig& adapter) {
  AudioConfig audio{};
  audio.sample_rate_hz = dimension(object, "sample_rate_hz", 384'000, 1000);
  audio.hop_samples = dimension(object, "hop_samples", 1 << 16);
  audio.window_samples = dimension(object, "window_samples", kMostWindowSamples, 2);
  audio.mel_frames_per_token = 2 * adapter.frames_per_token;
  audio.samples_per_token = audio.hop_samples * audio.mel_frames_per_token;
  require_equal(object, "mel_frames_per_token", audio.mel_frames_per_token,
                "twice adapter.frames_per_token: the conv stem halves the rate");
  require_equal(object, "samples_per_token", audio.samples_per_token, "hop_samples times mel_frames_per_token");
  if (audio.window_samples % 2 != 0) object.at("window_samples").fail_expected("an even number");
  if (audio.hop_samples > audio.window_samples) {
    object.at("hop_samples")
        .fail_expected("at most window_samples, which is " + std::to_string(audio.window_samples) +
                       " (no sample may be skipped)");
  }
  audio.log_mel_max = static_cast<float>(object.at("log_mel_max").as_number(-100.0, 100.0));
  audio.left_pad_tokens = dimension(object, "left_pad_tokens", kMostPadTokens, 0);
  audio.right_pad_extra_tokens = dimension(object, "right_pad_extra_tokens", kMostPadTokens, 0);
  audio.default_delay_tokens = dimension(object, "default_delay_tokens", kMostPadTokens);
  return audio;
}

TokenConfig read_tokens(const JsonValue& object, const DecoderConfig& decoder) {
  TokenConfig tokens{};
  require_equal(object, "vocab_size", decoder.vocab_size, "config.decoder.vocab_size");
  tokens.vocab_size = decoder.vocab_size;
  if (decoder.vocab_size < 2) object.at("vocab_size").fail_expected("at least 2");
  const std::int64_t most_special = static_cast<std::int64_t>(decoder.vocab_size) - 1;
  tokens.special_count = dimension(object, "special_count", most_special);
  const auto last_special = static_cast<std::int64_t>(tokens.special_count) - 1;
  const auto special = [&](const char* key) {
    return static_cast<std::uint32_t>(object.at(key).as_integer(0, last_special));
  };
  tokens.bos = special("bos");
  tokens.eos = special("eos");
  tokens.streaming_pad = special("streaming_pad");
  tokens.streaming_word = special("streaming_word");
  if (tokens.streaming_pad == tokens.streaming_word) {
    object.at("streaming_word").fail_expected("another token than streaming_pad");
  }
  return tokens;
}

}  // namespace

ModelConfig read_model_config(const JsonValue& manifest) {
  const JsonValue config = manifest.at("config");
  ModelConfig model{};
  model.encoder = read_encoder(config.at("encoder"));
  model.decoder = read_decoder(config.at("decoder"));
  model.adapter = read_adapter(config.at("adapter"), model.encoder, model.decoder);
  model.audio = read_audio(manifest.at("audio"), model.adapter);
  model.tokens = read_tokens(manifest.at("tokens"), model.decoder);
  return model;
}

}  // namespace voxtral_edge
