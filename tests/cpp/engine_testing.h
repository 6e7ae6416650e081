// Loaded miniature models, synthetic audio and one-call transcription for the tests of engine and stream.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/native_engine.h"
#include "engine/stream.h"
#include "temporary_folder.h"
#include "tiny_package.h"

namespace voxtral_edge::check {

// Every step takes 10 to 50 times as long under a sanitizer or an emulator (the cross builds): fewer repetitions there.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__x86_64__)
inline constexpr bool kSlow = true;
#else
inline constexpr bool kSlow = false;
#endif

// A package on disk (removed with the last copy) and the native engine on it.
struct TinyModel {
  std::shared_ptr<TemporaryFolder> folder;
  std::shared_ptr<const Package> package;
  std::shared_ptr<const Tekken> tokenizer;
  std::shared_ptr<NativeEngine> engine;
};

TinyModel make_model(const TinyPackageOptions& package = {}, std::size_t threads = 1, const std::string& kernels = {},
                     KvChoice kv = KvChoice::automatic);
// Another engine on the same package.
TinyModel with_engine(const TinyModel& model, std::size_t threads, const std::string& kernels = {},
                      KvChoice kv = KvChoice::automatic);

// Wobbling tones with pauses and noise, 16 kHz, reproducible everywhere; peak below 0.5.
std::vector<float> synthetic_audio(std::size_t samples, std::uint64_t seed);

// Small reproducible generator (splitmix64).
class Numbers {
 public:
  explicit Numbers(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next();
  std::size_t below(std::size_t limit) { return static_cast<std::size_t>(next() % limit); }
  float between(float low, float high);

 private:
  std::uint64_t state_;
};

struct Transcription {
  std::vector<std::uint32_t> ids;
  std::string text;
  Events events;
  StreamTrace trace;
};

// Feeds `audio` in pieces of the given sizes (the last size repeats; none: all at once), finishes, collects.
Transcription transcribe(Stream& stream, std::span<const float> audio, std::span<const std::size_t> pieces = {});
Transcription transcribe(const TinyModel& model, const StreamOptions& options, std::span<const float> audio,
                         std::span<const std::size_t> pieces = {});

// Checks that two transcriptions agree in every id, byte, event and traced number, bit for bit.
void check_same(const Transcription& got, const Transcription& expected);

// The text of all text events together.
std::string joined_text(const Events& events);

}  // namespace voxtral_edge::check
