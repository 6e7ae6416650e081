// A stream that begins from a copied state is the stream that computed its own left padding, bit for bit.
#include "engine/warm_start.h"

#include <thread>
#include <vector>

#include "check.h"
#include "engine_testing.h"
#include "kernels/registry.h"
#include "kv_ring_testing.h"

namespace voxtral_edge {
namespace {

using check::check_same;
using check::make_model;
using check::synthetic_audio;
using check::TinyModel;
using check::transcribe;
using check::with_engine;

TEST("the second stream of a delay computes no padding and hears the same") {
  const TinyModel model = make_model();
  const std::vector<float> audio = synthetic_audio(40000, 3);
  for (const std::size_t delay : {6u, 2u, 30u}) {
    const StreamOptions options{.delay_tokens = delay};
    Stream first(model.engine, model.tokenizer, options);
    CHECK(first.stats().encode_calls > 0);
    Stream second(model.engine, model.tokenizer, options);
    CHECK_EQ(second.stats().encode_calls, 0u);
    CHECK_EQ(second.stats().encoded_tokens, first.stats().encoded_tokens);
    const auto expected = transcribe(first, audio);
    check_same(transcribe(second, audio), expected);
    // What the streams heard has not leaked into the stored state.
    second.reset();
    check_same(transcribe(second, audio), expected);
  }
}

TEST("delays and start positions have states of their own; only the last few are kept") {
  const TinyModel model = make_model();
  const TinyModel fresh = with_engine(model, 1);
  const std::vector<float> audio = synthetic_audio(24000, 4);
  for (int round = 0; round < 2; ++round) {
    for (const std::uint64_t start : {0ull, 1ull << 31}) {
      for (const std::size_t delay : {1u, 4u, 9u}) {
        const StreamOptions options{.delay_tokens = delay, .start_token_position = start};
        const TinyModel alone = with_engine(fresh, 1);
        check_same(transcribe(model, options, audio), transcribe(alone, options, audio));
      }
    }
  }
}

TEST("windows that a benchmark takes for full are no other stream's") {
  const TinyModel model = make_model();
  const std::vector<float> audio = synthetic_audio(24000, 6);
  const StreamOptions plain{.delay_tokens = 3, .start_token_position = 1000};
  StreamOptions full = plain;
  full.assume_full_cache = true;
  const auto expected = transcribe(with_engine(model, 1), full, audio);
  for (int round = 0; round < 2; ++round) {
    check_same(transcribe(model, plain, audio), transcribe(with_engine(model, 1), plain, audio));
    const auto got = transcribe(model, full, audio);
    check_same(got, expected);
    CHECK(got.events.size() != 0);
  }
}

TEST("streams that begin at the same time on several threads") {
  const TinyModel model = make_model({}, 2);
  const std::vector<float> audio = synthetic_audio(24000, 5);
  const StreamOptions options{.delay_tokens = 6};
  const auto expected = transcribe(with_engine(model, 1), options, audio);
  std::vector<check::Transcription> got(4);
  std::vector<std::thread> threads;
  for (auto& one : got) threads.emplace_back([&] { one = transcribe(model, options, audio); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& one : got) check_same(one, expected);
}

TEST("a copied ring shows what the original shows, also when it has wrapped") {
  const Kernels& kernels = *available_kernels().back();
  for (const KvType type : {KvType::f32, KvType::f16, KvType::i8}) {
    const KvRingShape shape{2, 2, 5, 150, 3, type};
    for (const std::uint64_t last : {0ull, 3ull, 63ull, 64ull, 149ull, 191ull, 192ull, 400ull, 1000ull}) {
      KvRing ring(shape), copy(shape);
      ring.reset(0);
      float key[5], value[5];
      for (std::uint64_t p = 0; p <= last; ++p) {
        for (std::size_t lh = 0; lh < 4; ++lh) {
          for (std::size_t i = 0; i < 5; ++i) {
            key[i] = static_cast<float>(p % 100 * 8 + lh);
            value[i] = -key[i] - static_cast<float>(i);
          }
          ring.write(kernels, lh / 2, lh % 2, p, key, value);
        }
      }
      copy.copy(ring, last + 1);
      CHECK_EQ(copy.first_position(), ring.first_position());
      for (std::size_t lh = 0; lh < 4; ++lh) {
        const check::RingReader a(ring, lh / 2, lh % 2), b(copy, lh / 2, lh % 2);
        for (std::uint64_t p = last < 150 ? 0 : last - 149; p <= last; ++p) {
          for (std::size_t i = 0; i < 5; ++i) CHECK(a.key(p, i) == b.key(p, i) && a.value(p, i) == b.value(p, i));
        }
      }
    }
  }
}

}  // namespace
}  // namespace voxtral_edge

CHECK_MAIN()
