// The streaming loop: its grid, its prompt, chunking, drafts, finish, reset.
#include "engine/stream.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "check.h"
#include "stream_testing.h"

namespace voxtral_edge {

using namespace check;

TEST("token k runs with sample 1280 (k + 1) + 39 and not before") {
  Scripted s([](std::uint64_t) { return pad(); }, options_of(3, 1));
  const std::uint64_t left = model().engine->config().audio.left_pad_tokens;
  const float sample = 0.1f;
  Events events;
  for (std::uint64_t fed = 1; fed <= 4 * 1280 + 100; ++fed) {
    s.stream.feed({&sample, 1}, events);
    const std::uint64_t samples = left * 1280 + fed;
    CHECK_EQ(s.engine->encoded_tokens, samples < 1280 + 40 ? 0 : (samples - 40) / 1280);
  }
}

TEST("prompt BOS and pads, then each token feeds the next; one token per 80 ms") {
  for (const std::size_t delay : {1, 2, 6, 15, 30}) {
    Scripted s([](std::uint64_t g) { return byte_token('a' + g % 26); }, options_of(delay));
    const auto& audio = model().engine->config().audio;
    const std::size_t samples = 20000;
    const Transcription t = transcribe(s.stream, synthetic_audio(samples, 1));
    const std::size_t prompt = 1 + audio.left_pad_tokens + delay;
    const std::size_t tokens =
        audio.left_pad_tokens + (samples + 1279) / 1280 + delay + 1 + audio.right_pad_extra_tokens;
    CHECK_EQ(s.stream.prompt_tokens(), prompt);
    CHECK_EQ(s.engine->encoded_tokens, tokens);
    CHECK_EQ(s.engine->decoded_positions, tokens);
    CHECK_EQ(t.ids.size(), tokens - prompt + 1);
    std::vector<std::uint32_t> expected(prompt, pad());
    expected[0] = model().engine->config().tokens.bos;
    expected.insert(expected.end(), t.ids.begin(), t.ids.end() - 1);
    CHECK(s.engine->previous_ids == expected);
    CHECK(s.engine->largest_encode <= 8);
  }
}

TEST("any chunking gives the same bits: ids, text, words, times, every intermediate") {
  StreamOptions options = options_of(2);
  options.trace = true;
  const std::vector<float> audio = synthetic_audio(50000, 3);  // 39 + 17 tokens: over two decoder windows
  const Transcription expected = transcribe(model(), options, audio);
  CHECK(std::set<std::uint32_t>(expected.ids.begin(), expected.ids.end()).size() > 5);  // the model says something
  Numbers numbers(1);
  for (int round = 0; round < (kSlow ? 6 : 30); ++round) {
    std::vector<std::size_t> pieces;
    for (int i = 0; i < 400; ++i) {
      const std::size_t most = std::size_t{1} << numbers.below(15);
      pieces.push_back(numbers.below(most + 1));  // empty pieces too
    }
    pieces.push_back(1 + numbers.below(5000));
    options.max_batch_tokens = numbers.below(2) == 0 ? 0 : 1 + numbers.below(9);
    options.max_drafts = numbers.below(6);
    check_same(transcribe(model(), options, audio, pieces), expected);
  }
  for (const std::size_t piece : {1, 39, 40, 41, 160, 1279, 1280, 1281, 1320, 49999}) {
    check_same(transcribe(model(), options, audio, std::vector<std::size_t>{piece}), expected);
  }
}

TEST("drafts cost passes or save them, never a token") {
  const std::vector<float> audio = synthetic_audio(60000, 12);
  StreamOptions options = options_of(3);
  options.trace = true;
  options.max_drafts = 0;
  const Transcription expected = transcribe(model(), options, audio);
  for (const std::size_t drafts : {1, 2, 3, 7, 20, 63, 1000}) {
    options.max_drafts = drafts;
    for (const std::size_t piece : {700, 60000}) {
      check_same(transcribe(model(), options, audio, std::vector<std::size_t>{piece}), expected);
    }
  }
}

TEST("drafts of any length, whatever rows cost, change no token: two thousand tokens, eight windows") {
  const std::vector<float> audio = synthetic_audio(2000 * 1280, 5);
  // Words of changing length at changing distances: some of it can be guessed.
  const auto token = [](std::uint64_t g) {
    const std::uint64_t at = (g * g / 700) % 11;
    return at == 2 ? mark() : at == 3 ? piece_token(static_cast<std::uint32_t>(g / 50 % 3)) : pad();
  };
  const std::vector<std::vector<double>> curves = {
      {1.0}, {1.0, 1.0, 1.0, 1.0}, {1.0, 1.1, 1.2, 1.3, 1.4, 2.0, 2.6, 3.2}, {1.0, 9.0, 17.0}};
  std::vector<std::uint64_t> rows;
  for (const std::vector<double>& costs : curves) {
    Scripted s(token, options_of(3, 16), costs);
    Events events;
    for (std::size_t done = 0; done < audio.size(); done += 20480) {
      s.stream.feed_more({audio.data() + done, std::min<std::size_t>(20480, audio.size() - done)}, events);
    }
    s.stream.finish(events);
    CHECK_EQ(s.stream.token_ids().size(), 2011u);
    for (std::size_t g = 0; g < 2011; ++g) CHECK_EQ(s.stream.token_ids()[g], token(g));
    const StreamStats& stats = s.stream.stats();
    CHECK(stats.drafted_tokens <= stats.decode_calls * (costs.size() - 1));
    CHECK_EQ(s.engine->decoded_positions, s.engine->encoded_tokens);
    rows.push_back(stats.drafted_tokens);
  }
  CHECK_EQ(rows[0], 0u);  // an engine that has no costs for more rows wants no drafts
  CHECK(rows[1] > 500 && rows[2] > 500);
  CHECK(rows[3] < 100);  // dear rows are hardly tried
}

TEST("audio that more follows waits for full passes, and nothing is lost or late at the end") {
  const std::vector<float> audio = synthetic_audio(300 * 1280, 1);
  const auto token = [](std::uint64_t g) { return g % 7 == 3 ? mark() : g % 7 == 4 ? piece_token(0) : pad(); };
  for (const std::size_t drafts : {0, 3, 7, 20}) {
    for (const std::size_t piece : {500, 16 * 1280, 50000}) {
      StreamOptions options = options_of(3, 16);
      options.max_drafts = drafts;
      Scripted s(token, options);
      const std::uint64_t prompt_encodes = s.stream.stats().encode_calls;
      Events events;
      for (std::size_t done = 0; done < audio.size(); done += piece) {
        s.stream.feed_more({audio.data() + done, std::min(piece, audio.size() - done)}, events);
        CHECK(!s.stream.busy());
        const StreamStats& stats = s.stream.stats();
        const std::uint64_t fed = (done + piece) / 1280;
        CHECK(stats.generated_tokens + 16 + 3 + drafts + 1 >= std::min<std::uint64_t>(fed, 300));
      }
      CHECK(s.stream.stats().encode_calls - prompt_encodes <= 300 / 16);  // no pass was smaller than it could be
      s.stream.feed({}, events);
      CHECK_EQ(s.engine->encoded_tokens, s.stream.config().audio.left_pad_tokens + 299);  // 40 samples look ahead
      CHECK_EQ(s.engine->decoded_positions, s.engine->encoded_tokens);
      s.stream.finish(events);
      CHECK_EQ(s.stream.token_ids().size(), 311u);
      for (std::size_t g = 0; g < 311; ++g) CHECK_EQ(s.stream.token_ids()[g], token(g));
    }
  }
}

TEST("a predictable text is drafted: fewer passes, the same requests to the model") {
  for (const std::size_t drafts : {0, 3, 8}) {
    StreamOptions options = options_of(3, 16);
    options.max_drafts = drafts;
    Scripted s([](std::uint64_t g) { return g % 7 == 3 ? mark() : g % 7 == 4 ? piece_token(0) : pad(); }, options);
    const Transcription t = transcribe(s.stream, synthetic_audio(300 * 1280, 1));
    CHECK_EQ(t.ids.size(), 311u);
    for (std::size_t g = 0; g < t.ids.size(); ++g)
      CHECK_EQ(t.ids[g], g % 7 == 3 ? mark() : g % 7 == 4 ? piece_token(0) : pad());
    const std::vector<std::uint32_t>& fed = s.engine->previous_ids;
    CHECK_EQ(fed.size(), s.engine->encoded_tokens);
    CHECK(std::equal(t.ids.begin(), t.ids.end() - 1,
                     fed.begin() + static_cast<std::ptrdiff_t>(s.stream.prompt_tokens())));
    const StreamStats& stats = s.stream.stats();
    CHECK(stats.accepted_drafts <= stats.drafted_tokens);
    if (drafts > 0) CHECK(stats.decode_calls < 200u);
  }
}

TEST("stages of a pass: every one is timed, and together they are no more than the calls") {
  Stream stream(model().engine, model().tokenizer, options_of(3));
  Events events;
  stream.feed(synthetic_audio(8 * 1280, 1), events);
  const StreamStats& stats = stream.stats();
  const EncodeTimes& encode = stats.encode_times;
  const DecodeTimes& decode = stats.decode_times;
  CHECK(model().engine->times_stages());
  for (const std::uint64_t ns :
       {stats.mel_ns, encode.conv_ns, encode.encoder_ns, encode.adapter_ns, decode.decoder_ns, decode.head_ns}) {
    CHECK(ns > 0);
  }
  CHECK(encode.conv_ns + encode.encoder_ns + encode.adapter_ns <= stats.encode_ns);
  CHECK(decode.decoder_ns + decode.head_ns <= stats.decode_ns);
  stream.reset();
  CHECK_EQ(stream.stats().decode_times.head_ns, 0u);
}

TEST("no audio, one sample, and silence all finish properly") {
  for (const std::size_t samples : {0, 1, 39, 40, 1279, 1280, 1281}) {
    Stream stream(model().engine, model().tokenizer, options_of(6));
    const Transcription t = transcribe(stream, std::vector<float>(samples));
    CHECK_EQ(t.ids.size(), (samples + 1279) / 1280 + 11);  // N - P + 1
    CHECK_EQ(count_of(t.events, EventType::final), 1u);
    CHECK(t.events.back().type == EventType::final);
    CHECK_EQ(joined_text(t.events), t.text);
  }
}

TEST("finish ends it: feeding, flushing and finishing again are usage errors until reset") {
  const std::vector<float> audio = synthetic_audio(9000, 4);
  Stream stream(model().engine, model().tokenizer, options_of(3));
  const Transcription first = transcribe(stream, audio);
  Events events;
  CHECK_THROWS_CODE(stream.feed(audio, events), ErrorCode::usage);
  CHECK_THROWS_CODE(stream.feed({}, events), ErrorCode::usage);
  CHECK_THROWS_CODE(stream.flush(events), ErrorCode::usage);
  CHECK_THROWS_CODE(stream.finish(events), ErrorCode::usage);
  CHECK(events.empty());
  CHECK(stream.finished());
  for (int again = 0; again < 3; ++again) {
    stream.reset();
    CHECK(!stream.finished());
    CHECK(stream.token_ids().empty());
    CHECK(stream.text().empty());
    check_same(transcribe(stream, audio), first);
  }
}

TEST("reset in the middle leaves nothing behind") {
  const std::vector<float> audio = synthetic_audio(12000, 5);
  for (const bool trace : {false, true}) {
    StreamOptions options = options_of(3);
    options.trace = trace;
    const Transcription expected = transcribe(model(), options, audio);
    Stream stream(model().engine, model().tokenizer, options);
    for (const std::size_t fed : {1, 700, 1320, 5000, 12000}) {
      Events events;
      stream.reset();
      stream.feed(std::span(audio).first(fed), events);
      if (fed == 5000) stream.flush(events);
      stream.reset();
      stream.flush(events);  // of nothing: no silence is inserted
      CHECK(stream.token_ids().empty());
      check_same(transcribe(stream, audio), expected);
    }
  }
}

TEST("reset forgets phrases under way, the run of pads and the automatic gain") {
  const std::uint32_t a = byte_token('a'), b = byte_token('b'), c = byte_token('c');
  // 50 tokens, so 61 choices. A second of silence, then what is too quiet.
  std::vector<float> audio(64000, 0.0f);
  for (std::size_t i = 16000; i < audio.size(); ++i) audio[i] = 0.01f * std::sin(0.3f * static_cast<float>(i));
  StreamOptions options = options_of(3);
  const std::vector<BiasSpelling> phrase{{{a, b}, {0.0f, 4.0f}, false}};
  options.bias = std::make_shared<const BiasTree>(phrase);
  options.pad_run_penalty = PadRunPenalty{3, 1.0f, 7.0f};
  options.gain.decibels.reset();
  // Pads with c close behind, but after three pads; at the end a, which makes b the likeliest next text.
  Scripted s([&](std::uint64_t g) { return g == 60 ? a : pad(); }, options);
  s.engine->logits = [&](std::uint64_t g, float* row) {
    std::fill_n(row, model().engine->config().decoder.vocab_size, -20.0f);
    row[g == 60 ? a : pad()] = 5.0f;
    row[c] = 4.8f;
    row[b] = 4.0f;
  };
  const Transcription first = transcribe(s.stream, audio);
  CHECK_EQ(first.ids.size(), 61u);
  CHECK(first.ids[2] == pad() && first.ids[3] == c && first.ids[60] == a);
  CHECK(s.stream.stats().gain_decibels > 3.0f);
  s.stream.reset();
  Events events;
  s.stream.feed({audio.data(), 1}, events);
  CHECK_EQ(s.stream.stats().gain_decibels, 0.0f);
  s.stream.reset();
  CHECK(transcribe(s.stream, audio).ids == first.ids);
  // The other order: the run of pads ends at 2, and a third pad of the next stream is no fourth one.
  s.stream.reset();
  events.clear();
  s.stream.feed({audio.data(), 5 * 1280 + 40}, events);
  CHECK_EQ(s.stream.token_ids().size(), 2u);
  s.stream.reset();
  CHECK(transcribe(s.stream, audio).ids == first.ids);
}

TEST("options out of range are usage errors, not allocations that overflow") {
  const auto refused = [](const StreamOptions& options) {
    CHECK_THROWS_CODE(Stream(model().engine, model().tokenizer, options), ErrorCode::usage);
  };
  for (const std::size_t delay : {std::size_t{0}, std::size_t{31}, ~std::size_t{0}}) refused(options_of(delay));
  for (const std::size_t tokens : {std::size_t{4097}, std::size_t{1} << 61, ~std::size_t{0}}) {
    StreamOptions options = options_of(6);
    options.max_batch_tokens = tokens;
    refused(options);
  }
  for (const std::uint64_t position : {std::uint64_t{1} << 48, ~std::uint64_t{0}}) {
    StreamOptions options = options_of(6);
    options.start_token_position = position;
    refused(options);
  }
  StreamOptions options = options_of(6);
  options.replayed_ids = {0, static_cast<std::uint32_t>(model().engine->config().tokens.vocab_size)};
  refused(options);
}

TEST("samples that are not finite are replaced by silence and counted") {
  std::vector<float> audio = synthetic_audio(8000, 9), clean = audio;
  for (const std::size_t at : {0, 77, 1280, 7999}) {
    audio[at] = at % 2 == 0 ? std::numeric_limits<float>::quiet_NaN() : -std::numeric_limits<float>::infinity();
    clean[at] = 0.0f;
  }
  Stream stream(model().engine, model().tokenizer, options_of(3));
  check_same(transcribe(stream, audio), transcribe(model(), options_of(3), clean));
  CHECK_EQ(stream.stats().replaced_samples, 4u);
  CHECK_EQ(stream.stats().fed_samples, 8000u);
}

TEST("counters started near 2^17, 2^31, 2^32: the same tokens") {
  StreamOptions options = options_of(3);
  const std::vector<float> audio = synthetic_audio(100000, 10);  // 78 tokens: over three decoder windows
  const Transcription expected = transcribe(model(), options, audio);
  for (const std::uint64_t start : {(1ull << 17) - 50, (1ull << 31) - 50, (1ull << 32) - 50, (1ull << 33) + 5}) {
    options.start_token_position = start;
    const Transcription got = transcribe(model(), options, audio);
    CHECK(got.ids == expected.ids);
    CHECK_EQ(got.text, expected.text);
  }
}

}  // namespace voxtral_edge

CHECK_MAIN()
