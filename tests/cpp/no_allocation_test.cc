// A stream that has warmed up allocates nothing per step: counted over the whole process, worker threads included.
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "check.h"
#include "engine_testing.h"
#include "kernels/registry.h"
#include "scripted_engine.h"

namespace {

std::atomic<bool> counting{false};
std::atomic<long> allocations{0};

void count() {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

// With glibc every allocation passes here, whoever makes it. Sanitizers have their own malloc, and a static libc (the
// cross build) does not let go of its own: there operator new counts.
#if defined(__GLIBC__) && defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void* malloc(std::size_t size) {
  count();
  return __libc_malloc(size);
}
void* calloc(std::size_t number, std::size_t size) {
  count();
  return __libc_calloc(number, size);
}
void* realloc(void* old, std::size_t size) {
  count();
  return __libc_realloc(old, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  count();
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** out, std::size_t alignment, std::size_t size) {
  count();
  *out = __libc_memalign(alignment, size);
  return *out == nullptr ? 12 : 0;  // ENOMEM
}
}
#else
void* operator new(std::size_t size) {
  count();
  void* result = std::malloc(size);
  if (result == nullptr) throw std::bad_alloc();
  return result;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
#endif

namespace voxtral_edge {
namespace {

using check::TinyModel;

struct Case {
  const char* precision;
  std::size_t threads;
  std::size_t piece;  // samples per feed
  std::size_t drafts = 0;
};

// The decoder ring has 24 - 1 + 64 slots: five wraps, or one.
constexpr std::size_t kWarmUp = 90 * 1280, kMeasured = (check::kSlow ? 100 : 440) * 1280;

constexpr Case kCases[] = {{"fp32", 1, 1280}, {"fp16", 2, 1280}, {"int8", 1, 160},    {"int4", 2, 1280},
                           {"int4", 1, 9000}, {"int8", 2, 1},    {"int4", 2, 9000, 7}};

TinyModel make_model(const Case& c) {
  check::TinyPackageOptions options;
  options.precision = c.precision;
  return check::make_model(options, c.threads);
}

// Allocations of feeding `samples` in pieces. Events are dropped after every piece, their room is kept, as a caller
// who cares would do.
long allocations_of(Stream& stream, std::span<const float> samples, std::size_t piece, Events& events) {
  allocations = 0;
  counting = true;
  for (std::size_t done = 0; done < samples.size(); done += piece) {
    stream.feed(samples.subspan(done, std::min(piece, samples.size() - done)), events);
    events.clear();
  }
  counting = false;
  return allocations;
}

}  // namespace

TEST("the counter counts") {
  allocations = 0;
  counting = true;
  std::vector<int>* made = new std::vector<int>(100);
  counting = false;
  delete made;
  CHECK_EQ(allocations.load(), 2);
}

TEST("silent steps: none, over wraps of the decoder ring, every precision and kernel set") {
  const std::vector<float> audio = check::synthetic_audio(kWarmUp + kMeasured, 1);
  for (const Kernels* kernels : available_kernels()) {
    for (const Case& c : kCases) {
      if (c.piece == 1 && kernels != available_kernels()[0]) continue;
      const TinyModel model = check::with_engine(make_model(c), c.threads, kernels->name);
      // Real passes, but only pads come out: what an event's text costs is the next test's matter.
      const auto engine = std::make_shared<check::ScriptedEngine>(
          model.engine->config(), [&](std::uint64_t) { return model.engine->config().tokens.streaming_pad; },
          model.engine);
      engine->record_ids = false;
      StreamOptions options;
      options.delay_tokens = 3;
      options.max_drafts = c.drafts;
      options.keep_history = false;
      Stream stream(engine, model.tokenizer, options);
      Events events;
      events.reserve(16);
      allocations_of(stream, std::span(audio).first(kWarmUp), c.piece, events);
      CHECK_EQ(allocations_of(stream, std::span(audio).subspan(kWarmUp), c.piece, events), 0);
      CHECK((stream.stats().accepted_drafts > 0) == (c.drafts > 0));
    }
  }
}

TEST("speaking steps: none either, for words that fit into a short string") {
  const std::vector<float> audio = check::synthetic_audio(kWarmUp + kMeasured, 1);
  const TinyModel model = make_model(kCases[3]);
  const TokenConfig tokens = model.engine->config().tokens;
  const std::uint32_t word = static_cast<std::uint32_t>(tokens.special_count) + 256;  // " the"
  const std::uint32_t half = static_cast<std::uint32_t>(tokens.special_count) + 0xC3, other = half - 0xC3 + 0xA9;
  std::uint64_t words = 0;
  const auto engine = std::make_shared<check::ScriptedEngine>(
      model.engine->config(),
      [&](std::uint64_t g) {
        switch (g % 8) {
          case 0:
            return tokens.streaming_word;
          case 1:
            return word;
          case 2:
            return word;
          case 4:
            return half;  // é in two halves with a pad between
          case 6:
            return other;
          default:
            return g % 40 == 7 ? tokens.eos : tokens.streaming_pad;
        }
      },
      model.engine);
  engine->record_ids = false;
  StreamOptions options;
  options.delay_tokens = 3;
  options.keep_history = false;
  Stream stream(engine, model.tokenizer, options);
  Events events;
  events.reserve(64);
  stream.feed(std::span(audio).first(kWarmUp), events);
  for (const Event& event : events) words += event.type == EventType::word ? 1 : 0;
  CHECK(words > 20);
  events.clear();
  CHECK_EQ(allocations_of(stream, std::span(audio).subspan(kWarmUp), 1280, events), 0);
}

TEST("engine passes with many rows: none") {
  for (const Case& c : kCases) {
    const TinyModel model = make_model(c);
    const ModelConfig& config = model.engine->config();
    const auto state = model.engine->create_state(3, 0);
    std::vector<float> mel(70 * config.audio.mel_frames_per_token * config.encoder.mel_bins, 0.3f);
    std::vector<float> embeddings(70 * config.decoder.width), logits(70 * config.decoder.vocab_size);
    std::vector<std::uint32_t> ids(70, 5);
    std::vector<TokenChoice> choices(70);
    const auto pass = [&](std::size_t tokens) {
      const EncodeRequest encode{state.get(), mel.data(), tokens, embeddings.data(), nullptr};
      model.engine->encode({&encode, 1});
      const DecodeRequest decode{state.get(), embeddings.data(), ids.data(),   tokens,
                                 tokens,      choices.data(),    logits.data()};
      model.engine->decode({&decode, 1});
      model.engine->rewind(*state, tokens / 2);
    };
    pass(70);
    allocations = 0;
    counting = true;
    for (int round = 0; round < 10; ++round) {
      for (const std::size_t tokens : {1, 2, 5, 8, 16, 17, 64, 70}) pass(tokens);
    }
    counting = false;
    CHECK_EQ(allocations.load(), 0);
  }
}

}  // namespace voxtral_edge

CHECK_MAIN()
