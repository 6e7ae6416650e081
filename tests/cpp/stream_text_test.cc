// What a stream says: segments, words and their times, flushes, characters, white space.
#include "engine/stream.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "base/utf8.h"
#include "check.h"
#include "stream_testing.h"

namespace voxtral_edge {

using namespace check;

TEST("EOS ends a segment of a live stream, not the stream; it ends the offline reference") {
  const auto script = [](std::uint64_t g) { return g == 4 || g == 9 ? eos() : g % 5 == 1 ? mark() : piece_token(0); };
  const std::vector<float> audio = synthetic_audio(16000, 6);
  Scripted live(script);
  const Transcription t = transcribe(live.stream, audio);
  CHECK_EQ(t.ids.size(), 13u + 11u);
  CHECK_EQ(count_of(t.events, EventType::segment), 2u);
  CHECK_EQ(live.engine->previous_ids[live.stream.prompt_tokens() + 4], eos());  // fed back
  for (const Event& event : t.events) {
    if (event.type == EventType::segment) CHECK_NEAR(event.start_s, event.token_index == 4 ? 0.36 : 0.76, 1e-9);
  }
  StreamOptions offline = options_of(3);
  offline.stop_at_eos = true;
  Scripted reference(script, offline);
  const Transcription r = transcribe(reference.stream, audio);
  CHECK_EQ(r.ids.size(), 5u);
  CHECK_EQ(r.ids.back(), eos());
  CHECK_EQ(reference.stream.stats().accepted_drafts, 0u);  // no pass runs behind it
  CHECK_EQ(count_of(r.events, EventType::final), 1u);
}

TEST("EOS ends the word before it, also inside a character") {
  const std::vector<std::uint32_t> script{byte_token('a'), byte_token(0xC3), eos()};
  Scripted s([&](std::uint64_t g) { return g < script.size() ? script[g] : pad(); });
  Events events;
  s.stream.feed(synthetic_audio(9 * 1280, 1), events);  // six tokens
  CHECK_EQ(events.size(), 3u);
  CHECK(events[0].type == EventType::text && events[1].type == EventType::word);
  CHECK_EQ(events[1].text, "a");
  CHECK(events[2].type == EventType::segment);
}

TEST("EOS is 80 ms without text like a pad: a mark too long before a word is forgotten") {
  for (const bool forgotten : {false, true}) {
    std::vector<std::uint32_t> script{mark(), eos(), piece_token(0)};
    script.insert(script.begin() + 1, WordBuilder::kPadsBehindMark - (forgotten ? 0 : 1), pad());
    Scripted s([&](std::uint64_t g) { return g < script.size() ? script[g] : pad(); });
    const Transcription t = transcribe(s.stream, synthetic_audio(20000, 1));
    const auto word = std::find_if(t.events.begin(), t.events.end(), [](auto& e) { return e.type == EventType::word; });
    CHECK(word != t.events.end());
    CHECK_NEAR(word->end_s, forgotten ? 0.08 * 8 + 0.04 : 0.04, 1e-9);
  }
}

TEST("flush brings out the words behind the delay and keeps the time line") {
  const std::size_t delay = 6;
  // A word at generated index 10 (mark) and 11; another at 10 + 12 tokens of real audio later.
  const auto script = [](std::uint64_t g) {
    return g == 10 || g == 40 ? mark() : g == 11 || g == 41 ? piece_token(0) : pad();
  };
  Scripted s(script, options_of(delay));
  Events events;
  s.stream.feed(synthetic_audio(12 * 1280, 1), events);
  CHECK_EQ(count_of(events, EventType::word), 0u);
  s.stream.flush(events);
  CHECK_EQ(count_of(events, EventType::word), 1u);
  const std::size_t generated = s.stream.token_ids().size();
  CHECK(generated >= 12u);
  const std::size_t before = events.size();
  s.stream.flush(events);  // nothing new was fed: no second padding
  CHECK_EQ(events.size(), before);
  CHECK_EQ(s.stream.token_ids().size(), generated);
  s.stream.feed(synthetic_audio(30 * 1280, 2), events);
  s.stream.finish(events);
  std::vector<Event> words;
  for (const Event& event : events) {
    if (event.type == EventType::word) words.push_back(event);
  }
  CHECK_EQ(words.size(), 2u);
  CHECK_EQ(words[0].text, "the");
  CHECK_NEAR(words[0].end_s, 0.84, 1e-9);
  // 12 real tokens, then delay + 11 of silence: index 40 is real frame 40 - 17 of the audio that was fed.
  CHECK_NEAR(words[1].end_s, (40 - 17) * 0.08 + 0.04, 1e-9);
  CHECK_EQ(joined_text(events), s.stream.text());
  CHECK_EQ(s.stream.text(), "the the");
}

TEST("a word that falls into the silence of a flush ends where the audio before it did") {
  // 12 tokens of audio, then 17 of silence: mark 14 is written during the flush, mark 25 when more audio has come.
  for (const std::uint64_t at : {14u, 25u}) {
    Scripted s([&](std::uint64_t g) { return g == at ? mark() : g == at + 1 ? piece_token(0) : pad(); }, options_of(6));
    Events events;
    s.stream.feed(synthetic_audio(12 * 1280, 1), events);
    s.stream.flush(events);
    CHECK_EQ(count_of(events, EventType::word), at == 14 ? 1u : 0u);
    s.stream.feed(synthetic_audio(30 * 1280, 2), events);
    const auto word = std::find_if(events.begin(), events.end(), [](auto& e) { return e.type == EventType::word; });
    CHECK(word != events.end());
    CHECK_NEAR(word->end_s, 0.96, 1e-9);
  }
}

TEST("a phrase never makes the model speak where it is silent") {
  StreamOptions options = options_of(3);
  const std::vector<BiasSpelling> phrase{{{byte_token('a')}, {20.0f}, false}};
  options.bias = std::make_shared<const BiasTree>(phrase);
  Scripted s([](std::uint64_t g) { return g % 3 == 0 ? pad() : g % 3 == 1 ? mark() : byte_token('b'); }, options);
  s.engine->logits = [](std::uint64_t, float* row) {
    std::fill_n(row, model().engine->config().decoder.vocab_size, 1.0f);
  };
  const Transcription t = transcribe(s.stream, synthetic_audio(10 * 1280, 1));
  for (std::size_t g = 0; g < t.ids.size(); ++g)
    CHECK_EQ(t.ids[g], g % 3 == 0 ? pad() : g % 3 == 1 ? mark() : byte_token('a'));
}

TEST("a flush closes the word that it ends in") {
  Scripted s([](std::uint64_t) { return piece_token(0); });
  Events events;
  s.stream.feed(synthetic_audio(6 * 1280, 1), events);
  s.stream.flush(events);
  CHECK(count_of(events, EventType::text) > 10u);
  CHECK_EQ(count_of(events, EventType::word), count_of(events, EventType::text));
}

TEST("an automatic gain that moves does not look like a pause inside a word") {
  const auto script = [](std::uint64_t g) { return g == 22 ? mark() : g == 23 ? piece_token(0) : pad(); };
  std::vector<float> audio(32000, 0.0f);  // a second of silence, then a voice that the gain lifts by 30 dB
  for (std::size_t i = 16000; i < audio.size(); ++i) audio[i] = 0.003f * std::sin(0.3f * static_cast<float>(i));
  for (const std::optional<float> decibels : {std::optional<float>(0.0f), std::optional<float>()}) {
    StreamOptions options = options_of(3);
    options.gain.decibels = decibels;
    Scripted s(script, options);
    const Transcription t = transcribe(s.stream, audio);
    const auto word = std::find_if(t.events.begin(), t.events.end(), [](auto& e) { return e.type == EventType::word; });
    CHECK(word != t.events.end());
    CHECK_NEAR(word->start_s, 1.0, 1e-9);
    CHECK_NEAR(word->end_s, 1.8, 1e-9);
  }
}

TEST("many flushes: times stay monotonic, inside the audio, and text only grows") {
  Numbers numbers(9);
  Scripted s([](std::uint64_t g) { return g % 4 == 0   ? mark()
                                          : g % 4 == 1 ? piece_token(g % 3)
                                                       : pad(); },
             options_of(2));
  Events events;
  double fed_s = 0.0;
  for (int round = 0; round < 60; ++round) {
    const std::size_t samples = numbers.below(6000);
    s.stream.feed(synthetic_audio(samples, 1), events);
    fed_s += static_cast<double>(samples) / 16000.0;
    if (numbers.below(2) == 0) s.stream.flush(events);
  }
  s.stream.finish(events);
  double previous = 0.0;
  for (const Event& event : events) {
    if (event.type != EventType::word) continue;
    CHECK(event.start_s >= previous - 1e-9);
    CHECK(event.end_s >= event.start_s);
    CHECK(event.end_s <= fed_s + 1e-9);
    previous = event.end_s;
  }
  CHECK_EQ(joined_text(events), s.stream.text());
}

TEST("a character split by pads leaves whole; half a character becomes U+FFFD only at the end") {
  // é = C3 A9, 漢 = E6 BC A2 with pads inside; the last E6 never ends.
  const std::vector<std::uint32_t> script{
      byte_token(0xC3), pad(),           byte_token(0xA9), byte_token(0xE6), pad(), byte_token(0xBC), pad(), pad(),
      byte_token(0xA2), byte_token(' '), byte_token(0xE6)};
  Scripted s([&](std::uint64_t g) { return g < script.size() ? script[g] : pad(); });
  const Transcription t = transcribe(s.stream, synthetic_audio(20000, 1));
  CHECK_EQ(t.text, "é漢 \xEF\xBF\xBD");
  CHECK_EQ(joined_text(t.events), t.text);
  for (const Event& event : t.events) CHECK_EQ(utf8_valid_prefix(event.text), event.text.size());
  CHECK_EQ(t.events[0].text, "é");
  CHECK_EQ(t.events[0].token_index, 2u);  // the token that completed it
}

TEST("only the very first white space is dropped") {
  const std::vector<std::uint32_t> script{byte_token(' '), byte_token('\n'), byte_token('\t'), byte_token('\r'),
                                          piece_token(0),  piece_token(0),   byte_token(' ')};
  Scripted s([&](std::uint64_t g) { return g < script.size() ? script[g] : pad(); });
  CHECK_EQ(transcribe(s.stream, synthetic_audio(20000, 1)).text, "the the ");
}

TEST("without history the stream keeps nothing but reports the same events") {
  StreamOptions options = options_of(3);
  const std::vector<float> audio = synthetic_audio(30000, 8);
  const Transcription expected = transcribe(model(), options, audio);
  options.keep_history = false;
  Transcription got = transcribe(model(), options, audio);
  CHECK(got.ids.empty());
  CHECK(got.text.empty());
  CHECK_EQ(got.events.size(), expected.events.size());
  CHECK_EQ(joined_text(got.events), expected.text);
}

}  // namespace voxtral_edge

CHECK_MAIN()
