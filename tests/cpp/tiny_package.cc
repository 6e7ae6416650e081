#include "tiny_package.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <sstream>
#include <string_view>
#include <vector>

#include "base/sha256.h"
#include "kernels/half.h"
#include "package/expected_tensors.h"
#include "random_choices.h"
#include "temporary_folder.h"

namespace voxtral_edge::check {

namespace {

constexpr std::size_t kBlock = 32;

// Standard normal by Box and Muller: the same on every machine up to libm's last bit, unlike <random>'s distributions.
float normal(RandomChoices& random) {
  const double radius = std::sqrt(-2.0 * std::log(random.uniform()));
  return static_cast<float>(radius * std::cos(2.0 * std::numbers::pi * random.uniform()));
}

template <class T>
void append(std::string& out, const T* values, std::size_t count) {
  out.append(reinterpret_cast<const char*>(values), count * sizeof(T));
}

bool ends_with(const std::string& text, std::string_view end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// Scales of the golden checkpoint: gains away from one, loud delay conditioning, matrices that keep the variance.
std::vector<float> random_values(const ExpectedTensor& tensor, RandomChoices& random) {
  std::size_t count = 1, fan_in = 1;
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    count *= tensor.shape[i];
    if (i > 0) fan_in *= tensor.shape[i];
  }
  double mean = 0, deviation = 1.3 / std::sqrt(static_cast<double>(fan_in));
  if (ends_with(tensor.name, "norm.weight")) mean = 1, deviation = 0.25;
  if (ends_with(tensor.name, ".bias")) deviation = 0.2;
  if (tensor.name == "decoder.embedding.weight") deviation = 0.6;
  if (tensor.name.find(".delay.") != std::string::npos) deviation = 1.5 / std::sqrt(static_cast<double>(fan_in));
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(mean + deviation * normal(random));
  return values;
}

class Writer {
 public:
  void add_plain(const ExpectedTensor& tensor, const std::vector<float>& values, bool half) {
    begin(tensor.name, half ? "float16" : "float32", tensor.shape);
    if (half) {
      std::vector<std::uint16_t> halves(values.size());
      std::transform(values.begin(), values.end(), halves.begin(), half_from_float);
      append(weights_, halves.data(), halves.size());
    } else {
      append(weights_, values.data(), values.size());
    }
    end("");
  }

  void add_quantised(const ExpectedTensor& tensor, const std::vector<float>& values, unsigned bits) {
    const std::size_t rows = tensor.shape[0], columns = tensor.shape[1], blocks = (columns + kBlock - 1) / kBlock;
    std::vector<std::uint8_t> codes;
    std::vector<std::uint16_t> scales;
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t block = 0; block < blocks; ++block) {
        float padded[kBlock] = {};  // columns beyond K: value zero, so their code is the zero point
        const std::size_t first = block * kBlock;
        std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(row * columns + first),
                    std::min(kBlock, columns - first), padded);
        scales.push_back(quantise_block(padded, bits, codes));
      }
    }
    const std::string name = tensor.name.substr(0, tensor.name.size() - std::strlen(".weight")) + ".scales";
    std::ostringstream quantization;
    quantization << R"(, "quantization": {"bits": )" << bits
                 << R"(, "block": 32, "scheme": "symmetric", "zero_point": )" << (1u << (bits - 1))
                 << R"(, "layout": "matmul_nbits", "rows": )" << rows << R"(, "columns": )" << columns
                 << R"(, "scales": ")" << name << R"("})";
    begin(tensor.name, "uint8", {rows, blocks, kBlock * bits / 8});
    append(weights_, codes.data(), codes.size());
    end(quantization.str());
    begin(name, "float16", {rows, blocks});
    append(weights_, scales.data(), scales.size());
    end("");
  }

  const std::string& weights() const { return weights_; }
  const std::string& table() const { return table_; }

 private:
  // absmax scale rounded to fp16 first; the codes are against the rounded scale.
  static std::uint16_t quantise_block(const float* values, unsigned bits, std::vector<std::uint8_t>& codes) {
    float absmax = 0;
    for (std::size_t i = 0; i < kBlock; ++i) absmax = std::max(absmax, std::fabs(values[i]));
    const float most = bits == 4 ? 7.0f : 127.0f, least = bits == 4 ? -8.0f : -127.0f;
    const std::uint16_t half = half_from_float(absmax / most);
    const float scale = float_from_half(half);
    const auto code = [&](std::size_t i) {
      const float q = scale > 0 ? std::clamp(std::nearbyint(values[i] / scale), least, most) : 0.0f;
      return static_cast<unsigned>(static_cast<int>(q) + (1 << (bits - 1)));
    };
    for (std::size_t i = 0; i < kBlock; i += 8 / bits) {
      codes.push_back(static_cast<std::uint8_t>(bits == 4 ? code(i) | (code(i + 1) << 4) : code(i)));
    }
    return half;
  }

  void begin(const std::string& name, const char* type, const std::vector<std::size_t>& shape) {
    weights_.resize((weights_.size() + 63) / 64 * 64, '\0');
    offset_ = weights_.size();
    std::ostringstream out;
    out << (table_.empty() ? "" : ",") << "\n  \"" << name << R"(": {"file": "weights.bin", "dtype": ")" << type
        << R"(", "shape": [)";
    for (std::size_t i = 0; i < shape.size(); ++i) out << (i == 0 ? "" : ", ") << shape[i];
    out << "]";
    table_ += out.str();
  }

  void end(const std::string& more) {
    table_ += ", \"offset\": " + std::to_string(offset_) + ", \"bytes\": " + std::to_string(weights_.size() - offset_) +
              ", \"graphs\": []" + more + "}";
  }

  std::string weights_, table_;
  std::size_t offset_ = 0;
};

std::string base64(std::string_view bytes) {
  constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t window = 0;
    for (std::size_t j = 0; j < 3; ++j)
      window = (window << 8) | (j < count ? static_cast<std::uint8_t>(bytes[i + j]) : 0u);
    for (std::size_t j = 0; j < 4; ++j) out += j <= count ? alphabet[(window >> (18 - 6 * j)) & 63] : '=';
  }
  return out;
}

// The 256 bytes, then words of several scripts (some characters split over two pieces), then numbered words.
std::vector<std::string> pieces(std::size_t count) {
  std::vector<std::string> out;
  for (int byte = 0; byte < 256; ++byte) out.push_back(std::string(1, static_cast<char>(byte)));
  for (const char* word :
       {" the", " and", " voice", "ing", "'s", " ,", " .", " é", "漢", " 日本", " \xF0\x9F", "\x98\x80"}) {
    out.emplace_back(word);
  }
  while (out.size() < count) out.push_back(" w" + std::to_string(out.size()));
  return out;
}

std::string special_name(const TokenConfig& tokens, std::size_t id) {
  if (id == tokens.bos) return "<s>";
  if (id == tokens.eos) return "</s>";
  if (id == tokens.streaming_pad) return "[STREAMING_PAD]";
  if (id == tokens.streaming_word) return "[STREAMING_WORD]";
  return "<SPECIAL_" + std::to_string(id) + ">";
}

std::string tekken_text(const ModelConfig& config) {
  const TokenConfig& tokens = config.tokens;
  const std::vector<std::string> vocabulary = pieces(tokens.vocab_size - tokens.special_count + 8);
  std::ostringstream out;
  out << R"({"config": {"pattern": " ?[^\\s]+|\\s+", "num_vocab_tokens": )" << vocabulary.size()
      << R"(, "default_vocab_size": )" << tokens.vocab_size << R"(, "default_num_special_tokens": )"
      << tokens.special_count << R"(, "version": "v7"},)"
      << "\n\"vocab\": [";
  for (std::size_t rank = 0; rank < vocabulary.size(); ++rank) {
    out << (rank == 0 ? "\n" : ",\n") << R"( {"rank": )" << rank << R"(, "token_bytes": ")" << base64(vocabulary[rank])
        << R"(", "token_str": null})";
  }
  out << "],\n\"special_tokens\": [";
  for (std::size_t id = 0; id < tokens.special_count; ++id) {
    out << (id == 0 ? "\n" : ",\n") << R"( {"rank": )" << id << R"(, "token_str": ")" << special_name(tokens, id)
        << R"(", "is_control": true})";
  }
  out << "],\n"
      << R"("audio": {"sampling_rate": )" << config.audio.sample_rate_hz << R"(, "frame_rate": )"
      << static_cast<double>(config.audio.sample_rate_hz) / static_cast<double>(config.audio.samples_per_token)
      << R"(, "transcription_format": "streaming", "transcription_delay_ms": )"
      << config.audio.default_delay_tokens * config.audio.samples_per_token * 1000 / config.audio.sample_rate_hz
      << R"(, "streaming_n_left_pad_tokens": )" << config.audio.left_pad_tokens << "}}\n";
  return out.str();
}

std::string config_text(const ModelConfig& c) {
  std::ostringstream out;
  out << R"( "config": {
  "encoder": {"layers": )"
      << c.encoder.layers << R"(, "width": )" << c.encoder.width << R"(, "heads": )" << c.encoder.heads
      << R"(, "kv_heads": )" << c.encoder.kv_heads << R"(, "head_dim": )" << c.encoder.head_dim << R"(, "ffn_width": )"
      << c.encoder.ffn_width << R"(, "window_frames": )" << c.encoder.window_frames << R"(, "rope_theta": )"
      << c.encoder.rope_theta << R"(, "norm_eps": )" << c.encoder.norm_eps << R"(, "mel_bins": )" << c.encoder.mel_bins
      << R"(},
  "adapter": {"frames_per_token": )"
      << c.adapter.frames_per_token << R"(, "input_width": )" << c.adapter.input_width << R"(, "hidden_width": )"
      << c.adapter.hidden_width << R"(, "output_width": )" << c.adapter.output_width << R"(},
  "decoder": {"layers": )"
      << c.decoder.layers << R"(, "width": )" << c.decoder.width << R"(, "heads": )" << c.decoder.heads
      << R"(, "kv_heads": )" << c.decoder.kv_heads << R"(, "head_dim": )" << c.decoder.head_dim << R"(, "ffn_width": )"
      << c.decoder.ffn_width << R"(, "window_tokens": )" << c.decoder.window_tokens << R"(, "rope_theta": )"
      << c.decoder.rope_theta << R"(, "norm_eps": )" << c.decoder.norm_eps << R"(, "vocab_size": )"
      << c.decoder.vocab_size << R"(, "delay_condition_width": )" << c.decoder.delay_condition_width << R"(}},
 "audio": {"sample_rate_hz": )"
      << c.audio.sample_rate_hz << R"(, "hop_samples": )" << c.audio.hop_samples << R"(, "window_samples": )"
      << c.audio.window_samples << R"(, "samples_per_token": )" << c.audio.samples_per_token
      << R"(, "mel_frames_per_token": )" << c.audio.mel_frames_per_token << R"(, "log_mel_max": )"
      << c.audio.log_mel_max << R"(, "left_pad_tokens": )" << c.audio.left_pad_tokens
      << R"(, "right_pad_extra_tokens": )" << c.audio.right_pad_extra_tokens << R"(, "default_delay_tokens": )"
      << c.audio.default_delay_tokens << R"(},
 "tokens": {"bos": )"
      << c.tokens.bos << R"(, "eos": )" << c.tokens.eos << R"(, "streaming_pad": )" << c.tokens.streaming_pad
      << R"(, "streaming_word": )" << c.tokens.streaming_word << R"(, "special_count": )" << c.tokens.special_count
      << R"(, "vocab_size": )" << c.tokens.vocab_size << "},\n";
  return out.str();
}

std::string file_entry(const std::string& name, std::size_t bytes, const std::string& sha256 = std::string(64, '0')) {
  return "\n  \"" + name + "\": {\"bytes\": " + std::to_string(bytes) + ", \"sha256\": \"" + sha256 + "\"}";
}

}  // namespace

ModelConfig tiny_config() {
  ModelConfig config{};
  config.encoder = {.layers = 2,
                    .width = 44,
                    .heads = 3,
                    .kv_heads = 3,
                    .head_dim = 12,
                    .ffn_width = 72,
                    .window_frames = 20,
                    .mel_bins = 128,
                    .rope_theta = 1e6,
                    .norm_eps = 1e-5f};
  config.adapter = {.frames_per_token = 4, .input_width = 0, .hidden_width = 60, .output_width = 0};
  config.decoder = {.layers = 2,
                    .width = 52,
                    .heads = 4,
                    .kv_heads = 2,
                    .head_dim = 18,
                    .ffn_width = 100,
                    .window_tokens = 24,
                    .vocab_size = 320,
                    .delay_condition_width = 8,
                    .rope_theta = 1e6,
                    .norm_eps = 1e-5f};
  config.audio = {.sample_rate_hz = 16000,
                  .hop_samples = 160,
                  .window_samples = 400,
                  .samples_per_token = 0,
                  .mel_frames_per_token = 0,
                  .log_mel_max = 1.5f,
                  .left_pad_tokens = 4,
                  .right_pad_extra_tokens = 10,
                  .default_delay_tokens = 3};
  config.tokens = {.bos = 1, .eos = 2, .streaming_pad = 32, .streaming_word = 33, .special_count = 40, .vocab_size = 0};
  return config;
}

void write_tiny_package(const std::string& directory, const TinyPackageOptions& options) {
  ModelConfig config = options.config;
  config.adapter.input_width = config.adapter.frames_per_token * config.encoder.width;
  config.adapter.output_width = config.decoder.width;
  config.audio.mel_frames_per_token = 2 * config.adapter.frames_per_token;
  config.audio.samples_per_token = config.audio.hop_samples * config.audio.mel_frames_per_token;
  config.tokens.vocab_size = config.decoder.vocab_size;
  std::map<std::string, std::string> precision = options.group_precision;
  std::string groups;
  for (const std::string& group : precision_groups()) {
    const std::string& chosen = precision.emplace(group, options.precision).first->second;
    groups += (groups.empty() ? "\"" : ", \"") + group + "\": \"" + chosen + "\"";
  }
  RandomChoices random(options.seed);
  Writer writer;
  for (const ExpectedTensor& tensor : expected_tensors(config)) {
    const std::vector<float> values = random_values(tensor, random);
    const std::string chosen = tensor.group == nullptr ? "fp32" : precision.at(tensor.group);
    if (chosen == "int4" || chosen == "int8") {
      writer.add_quantised(tensor, values, chosen == "int4" ? 4 : 8);
    } else {
      writer.add_plain(tensor, values, chosen == "fp16");
    }
  }
  const std::string tekken = tekken_text(config), graph = "placeholder";
  Sha256 weights;
  weights.add(writer.weights().data(), writer.weights().size());
  const std::string manifest =
      "{\"format\": \"voxtral-edge-package\", \"format_version\": 1, \"name\": \"" + options.name + "\",\n" +
      config_text(config) + " \"precision\": {" + groups + "},\n \"tensors\": {" + writer.table() +
      "},\n \"files\": {" + file_entry("weights.bin", writer.weights().size(), weights.finish()) + "," +
      file_entry("encoder.onnx", graph.size()) + "," + file_entry("decoder.onnx", graph.size()) + "," +
      file_entry("tekken.json", tekken.size()) +
      "},\n \"source\": {\"layout\": \"synthetic\", \"exporter_version\": \"test\", \"path\": \"tiny\", \"revision\": "
      "null}}\n";
  write_file(directory + "/weights.bin", writer.weights());
  write_file(directory + "/tekken.json", tekken);
  write_file(directory + "/encoder.onnx", graph);
  write_file(directory + "/decoder.onnx", graph);
  write_file(directory + "/manifest.json", manifest);
}

}  // namespace voxtral_edge::check
