// Configuration: read in full, every bound and every relation between fields enforced.
#include "package/model_config.h"

#include <string>

#include "check.h"
#include "error_text.h"
#include "package/expected_tensors.h"
#include "package/json.h"
#include "temporary_folder.h"

using namespace voxtral_edge;
using check::error_text;
using check::replaced;

namespace {

// The configuration of the 4B model, as its exporter writes it.
const std::string kManifest = R"({
 "config": {
  "encoder": {"layers": 32, "width": 1280, "heads": 32, "kv_heads": 32, "head_dim": 64, "ffn_width": 5120,
              "window_frames": 750, "rope_theta": 1000000.0, "norm_eps": 1e-05, "mel_bins": 128},
  "adapter": {"frames_per_token": 4, "input_width": 5120, "hidden_width": 3072, "output_width": 3072},
  "decoder": {"layers": 26, "width": 3072, "heads": 32, "kv_heads": 8, "head_dim": 128, "ffn_width": 9216,
              "window_tokens": 8192, "rope_theta": 1000000.0, "norm_eps": 1e-05, "vocab_size": 131072,
              "delay_condition_width": 32}},
 "audio": {"sample_rate_hz": 16000, "hop_samples": 160, "window_samples": 400, "samples_per_token": 1280,
           "mel_frames_per_token": 8, "log_mel_max": 1.5, "left_pad_tokens": 32, "right_pad_extra_tokens": 10,
           "default_delay_tokens": 6},
 "tokens": {"bos": 1, "eos": 2, "streaming_pad": 32, "streaming_word": 33, "special_count": 1000, "vocab_size": 131072}
})";

ModelConfig read(const std::string& text) {
  return read_model_config(JsonDocument::parse(text, "manifest.json", "export the package again").root());
}

// The manifest with `from` replaced must be refused with a message that holds `part`.
void refused(const std::string& from, const std::string& to, const std::string& part) {
  CHECK_CONTAINS(error_text([&] { read(replaced(kManifest, from, to)); }), part);
}

}  // namespace

TEST("reads the 4B model's configuration") {
  const ModelConfig model = read(kManifest);
  CHECK_EQ(model.encoder.layers, 32u);
  CHECK_EQ(model.encoder.width, 1280u);
  CHECK_EQ(model.encoder.heads, 32u);
  CHECK_EQ(model.encoder.kv_heads, 32u);
  CHECK_EQ(model.encoder.head_dim, 64u);
  CHECK_EQ(model.encoder.ffn_width, 5120u);
  CHECK_EQ(model.encoder.window_frames, 750u);
  CHECK_EQ(model.encoder.mel_bins, 128u);
  CHECK_EQ(model.encoder.rope_theta, 1e6);
  CHECK_EQ(model.encoder.norm_eps, 1e-5f);
  CHECK_EQ(model.adapter.frames_per_token, 4u);
  CHECK_EQ(model.adapter.input_width, 5120u);
  CHECK_EQ(model.adapter.hidden_width, 3072u);
  CHECK_EQ(model.adapter.output_width, 3072u);
  CHECK_EQ(model.decoder.layers, 26u);
  CHECK_EQ(model.decoder.width, 3072u);
  CHECK_EQ(model.decoder.heads, 32u);
  CHECK_EQ(model.decoder.kv_heads, 8u);
  CHECK_EQ(model.decoder.head_dim, 128u);
  CHECK_EQ(model.decoder.ffn_width, 9216u);
  CHECK_EQ(model.decoder.window_tokens, 8192u);
  CHECK_EQ(model.decoder.vocab_size, 131072u);
  CHECK_EQ(model.decoder.delay_condition_width, 32u);
  CHECK_EQ(model.decoder.rope_theta, 1e6);
  CHECK_EQ(model.decoder.norm_eps, 1e-5f);
  CHECK_EQ(model.audio.sample_rate_hz, 16000u);
  CHECK_EQ(model.audio.hop_samples, 160u);
  CHECK_EQ(model.audio.window_samples, 400u);
  CHECK_EQ(model.audio.samples_per_token, 1280u);
  CHECK_EQ(model.audio.mel_frames_per_token, 8u);
  CHECK_EQ(model.audio.log_mel_max, 1.5f);
  CHECK_EQ(model.audio.left_pad_tokens, 32u);
  CHECK_EQ(model.audio.right_pad_extra_tokens, 10u);
  CHECK_EQ(model.audio.default_delay_tokens, 6u);
  CHECK_EQ(model.tokens.bos, 1u);
  CHECK_EQ(model.tokens.eos, 2u);
  CHECK_EQ(model.tokens.streaming_pad, 32u);
  CHECK_EQ(model.tokens.streaming_word, 33u);
  CHECK_EQ(model.tokens.special_count, 1000u);
  CHECK_EQ(model.tokens.vocab_size, 131072u);
}

TEST("the 4B model has 711 tensors and 4,429,679,360 parameters") {
  const std::vector<ExpectedTensor> tensors = expected_tensors(read(kManifest));
  CHECK_EQ(tensors.size(), 711u);  // spec 1.1
  std::uint64_t parameters = 0;
  for (const ExpectedTensor& tensor : tensors) {
    std::uint64_t product = 1;
    for (const std::size_t size : tensor.shape) product *= size;
    parameters += product;
  }
  CHECK_EQ(parameters, 4'429'679'360u);  // spec 1.2
}

TEST("a missing field is named with its path") {
  const JsonDocument document = JsonDocument::parse(kManifest, "manifest.json", "export the package again");
  for (const auto [section, object] : document.root().members()) {
    for (const auto [key, value] : object.members()) {
      const std::string renamed = replaced(kManifest, "\"" + std::string(key) + "\":", "\"other\":");
      CHECK_CONTAINS(error_text([&] { read(renamed); }), "missing \"" + std::string(key) + "\"");
    }
  }
  refused("\"ffn_width\": 9216", "\"ffn\": 9216", "manifest.json: config.decoder: missing \"ffn_width\"; export");
  refused("\"norm_eps\": 1e-05, \"mel_bins\"", "\"mel_bins\"", "config.encoder: missing \"norm_eps\"");
  refused("\"tokens\"", "\"token\"", "missing \"tokens\"");
}

TEST("dimensions have bounds") {
  refused("\"layers\": 32", "\"layers\": 0", "config.encoder.layers: expected an integer between 1 and 1024, found 0");
  refused("\"layers\": 32", "\"layers\": \"x\"",
          "config.encoder.layers: expected an integer between 1 and 1024, found \"x\"");
  refused("\"layers\": 32", "\"layers\": 32.0", "found 32.0");
  refused("\"layers\": 26", "\"layers\": 1025", "config.decoder.layers");
  refused("\"width\": 1280", "\"width\": -1", "config.encoder.width");
  refused("\"width\": 1280", "\"width\": 9223372036854775807", "config.encoder.width");
  refused("\"head_dim\": 64", "\"head_dim\": 0", "config.encoder.head_dim");
  refused("\"ffn_width\": 9216", "\"ffn_width\": 1048577", "config.decoder.ffn_width");
  refused("\"window_frames\": 750", "\"window_frames\": 0", "config.encoder.window_frames");
  refused("\"window_tokens\": 8192", "\"window_tokens\": 2000000", "config.decoder.window_tokens");
  refused("\"mel_bins\": 128", "\"mel_bins\": 0", "config.encoder.mel_bins");
  refused("\"frames_per_token\": 4", "\"frames_per_token\": 0", "config.adapter.frames_per_token");
  refused("\"hidden_width\": 3072", "\"hidden_width\": null", "config.adapter.hidden_width: expected an integer");
  refused("\"delay_condition_width\": 32", "\"delay_condition_width\": 0", "config.decoder.delay_condition_width");
  refused("\"vocab_size\": 131072", "\"vocab_size\": 16777217", "config.decoder.vocab_size");
  refused("\"sample_rate_hz\": 16000", "\"sample_rate_hz\": 0", "audio.sample_rate_hz");
  refused("\"hop_samples\": 160", "\"hop_samples\": 0", "audio.hop_samples");
  refused("\"window_samples\": 400", "\"window_samples\": 0", "audio.window_samples");
  refused("\"window_samples\": 400", "\"window_samples\": 65498", "audio.window_samples: expected an integer between");
  refused("\"left_pad_tokens\": 32", "\"left_pad_tokens\": -1", "audio.left_pad_tokens");
  refused("\"left_pad_tokens\": 32", "\"left_pad_tokens\": 4097", "audio.left_pad_tokens");
  refused("\"right_pad_extra_tokens\": 10", "\"right_pad_extra_tokens\": 1e1", "audio.right_pad_extra_tokens");
  refused("\"default_delay_tokens\": 6", "\"default_delay_tokens\": 0", "audio.default_delay_tokens");
}

TEST("constants are finite and sensible") {
  refused("\"rope_theta\": 1000000.0", "\"rope_theta\": 0", "config.encoder.rope_theta");
  refused("\"rope_theta\": 1000000.0", "\"rope_theta\": -1e6", "config.encoder.rope_theta");
  refused("\"rope_theta\": 1000000.0", "\"rope_theta\": 1e300", "config.encoder.rope_theta");
  refused("\"norm_eps\": 1e-05", "\"norm_eps\": 0.0", "config.encoder.norm_eps");
  refused("\"norm_eps\": 1e-05", "\"norm_eps\": 2", "config.encoder.norm_eps");
  refused("\"log_mel_max\": 1.5", "\"log_mel_max\": 1e9", "audio.log_mel_max");
  refused("\"log_mel_max\": 1.5", "\"log_mel_max\": NaN", "NaN and Infinity are not JSON");
}

TEST("fields must fit each other") {
  refused("\"head_dim\": 64", "\"head_dim\": 63", "config.encoder.head_dim: expected an even number");
  refused("\"kv_heads\": 8", "\"kv_heads\": 5",
          "config.decoder.kv_heads: expected a divisor of heads, which is 32, found 5");
  refused("\"kv_heads\": 8", "\"kv_heads\": 64", "config.decoder.kv_heads: expected a divisor");
  refused("\"width\": 3072", "\"width\": 3071", "config.decoder.width: expected an even number");
  refused("\"input_width\": 5120", "\"input_width\": 1280",
          "config.adapter.input_width: expected 5120 (frames_per_token times encoder.width), found 1280");
  refused("\"output_width\": 3072", "\"output_width\": 1",
          "config.adapter.output_width: expected 3072 (decoder.width)");
  refused("\"mel_frames_per_token\": 8", "\"mel_frames_per_token\": 4", "audio.mel_frames_per_token: expected 8");
  refused("\"samples_per_token\": 1280", "\"samples_per_token\": 640", "audio.samples_per_token: expected 1280");
  refused("\"window_samples\": 400", "\"window_samples\": 401", "audio.window_samples: expected an even number");
  refused("\"window_samples\": 400", "\"window_samples\": 158",
          "audio.hop_samples: expected at most window_samples, which is 158 (no sample may be skipped), found 160");
  refused("1000, \"vocab_size\": 131072", "1000, \"vocab_size\": 5", "tokens.vocab_size: expected 131072");
  refused("\"special_count\": 1000", "\"special_count\": 131072", "tokens.special_count");
  refused("\"special_count\": 1000", "\"special_count\": 33", "tokens.streaming_word");
  refused("\"bos\": 1", "\"bos\": 1000", "tokens.bos: expected an integer between 0 and 999");
  refused("\"eos\": 2", "\"eos\": -2", "tokens.eos");
  refused("\"streaming_word\": 33", "\"streaming_word\": 32", "tokens.streaming_word: expected another token");
}

CHECK_MAIN()
