#include "engine_testing.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "check.h"

namespace voxtral_edge::check {

TinyModel make_model(const TinyPackageOptions& package, std::size_t threads, const std::string& kernels, KvChoice kv) {
  TinyModel model;
  model.folder = std::make_shared<TemporaryFolder>();
  write_tiny_package(model.folder->path(), package);
  model.package = Package::open(model.folder->path());
  model.tokenizer = std::make_shared<const Tekken>(
      Tekken::load(model.package->tokenizer_path(), model.package->config().tokens.vocab_size));
  return with_engine(model, threads, kernels, kv);
}

TinyModel with_engine(const TinyModel& model, std::size_t threads, const std::string& kernels, KvChoice kv) {
  TinyModel result = model;
  NativeEngineOptions options;
  options.threads = threads;
  options.kernels = kernels;
  options.kv_cache = kv;
  result.engine = NativeEngine::load(model.package, options);
  return result;
}

std::uint64_t Numbers::next() {
  std::uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

float Numbers::between(float low, float high) {
  return low + (high - low) * static_cast<float>(static_cast<double>(next() >> 11) * 0x1p-53);
}

std::vector<float> synthetic_audio(std::size_t samples, std::uint64_t seed) {
  Numbers numbers(seed);
  std::vector<float> audio(samples);
  const double base = 110.0 + 3.0 * static_cast<double>(seed % 37);
  for (std::size_t i = 0; i < samples; ++i) {
    const double t = static_cast<double>(i) / 16000.0;
    const double wobble = 60.0 * std::sin(2.0 * std::numbers::pi * 1.3 * t);
    double sum = 0.0;
    for (const auto& [level, pitch] : {std::pair{0.2, base}, {0.12, 900.0}, {0.06, 2600.0}, {0.03, 6100.0}}) {
      sum += level * std::sin(2.0 * std::numbers::pi * (pitch + wobble) * t);
    }
    const double envelope = 0.35 + 0.65 * std::fabs(std::sin(2.0 * std::numbers::pi * 2.1 * t));
    audio[i] = static_cast<float>(sum * envelope) + numbers.between(-0.02f, 0.02f);
  }
  return audio;
}

Transcription transcribe(Stream& stream, std::span<const float> audio, std::span<const std::size_t> pieces) {
  Transcription result;
  for (std::size_t done = 0, piece = 0; done < audio.size(); ++piece) {
    const std::size_t wanted = pieces.empty() ? audio.size() : pieces[std::min(piece, pieces.size() - 1)];
    const std::size_t count = std::min(wanted, audio.size() - done);
    stream.feed(audio.subspan(done, count), result.events);
    done += count;
  }
  stream.finish(result.events);
  result.ids = stream.token_ids();
  result.text = stream.text();
  result.trace = stream.trace();
  return result;
}

Transcription transcribe(const TinyModel& model, const StreamOptions& options, std::span<const float> audio,
                         std::span<const std::size_t> pieces) {
  Stream stream(model.engine, model.tokenizer, options);
  return transcribe(stream, audio, pieces);
}

void check_same(const Transcription& got, const Transcription& expected) {
  CHECK(got.ids == expected.ids);
  CHECK_EQ(got.text, expected.text);
  CHECK(got.trace.mel == expected.trace.mel);
  CHECK(got.trace.encoder == expected.trace.encoder);
  CHECK(got.trace.projector == expected.trace.projector);
  CHECK(got.trace.logits == expected.trace.logits);
  CHECK_EQ(got.events.size(), expected.events.size());
  for (std::size_t i = 0; i < std::min(got.events.size(), expected.events.size()); ++i) {
    const Event &a = got.events[i], &b = expected.events[i];
    CHECK_EQ(a.type, b.type);
    CHECK_EQ(a.text, b.text);
    CHECK_EQ(a.start_s, b.start_s);
    CHECK_EQ(a.end_s, b.end_s);
    CHECK_EQ(a.probability, b.probability);
    CHECK_EQ(a.token_index, b.token_index);
  }
}

std::string joined_text(const Events& events) {
  std::string text;
  for (const Event& event : events) {
    if (event.type == EventType::text) text += event.text;
  }
  return text;
}

}  // namespace voxtral_edge::check
