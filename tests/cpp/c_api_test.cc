// The C interface gives the results of the C++ one, from any threads.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "c_api_testing.h"
#include "engine_testing.h"

namespace voxtral_edge {
namespace {

void take_events(ve_stream* stream, Events& events) {
  const ve_event* event = nullptr;
  while (ve_stream_next_event(stream, &event) == VE_OK && event != nullptr) {
    CHECK_EQ(std::strlen(event->text), event->text_bytes);
    CHECK(event->type >= VE_EVENT_TEXT && event->type <= VE_EVENT_FINAL);
    events.push_back({static_cast<EventType>(event->type - 1), event->text, event->start_s, event->end_s,
                      event->probability, event->token_index});
  }
  CHECK(event == nullptr);
}

check::Transcription result_of(ve_stream* stream) {
  check::Transcription result;
  take_events(stream, result.events);
  const std::uint32_t* ids = nullptr;
  const char* text = nullptr;
  std::size_t count = 0, bytes = 0;
  CHECK_EQ(ve_stream_token_ids(stream, &ids, &count), VE_OK);
  CHECK_EQ(ve_stream_text(stream, &text, &bytes), VE_OK);
  result.ids.assign(ids, ids + count);
  result.text.assign(text, bytes);
  return result;
}

// What the C++ stream makes of it.
check::Transcription expected(const check::CModel& model, std::span<const float> audio, std::size_t delay_tokens) {
  StreamOptions options;
  options.delay_tokens = delay_tokens;
  Stream stream(model.engine->engine, model.engine->opened.tokenizer, options);
  return check::transcribe(stream, audio);
}

std::vector<std::int16_t> pcm16(std::size_t samples, std::uint64_t seed) {
  std::vector<std::int16_t> pcm;
  for (const float value : check::synthetic_audio(samples, seed)) {
    pcm.push_back(static_cast<std::int16_t>(std::lround(value * 32768.0f)));
  }
  return pcm;
}

std::vector<float> floats(const std::vector<std::int16_t>& pcm) {
  std::vector<float> samples;
  for (const std::int16_t value : pcm) samples.push_back(static_cast<float>(value) / 32768.0f);
  return samples;
}

constexpr std::size_t kSamples = 20011;  // more than one piece of the conversion

}  // namespace

TEST("both kinds of samples, any pieces, live or recorded: the C++ stream's tokens, text and events") {
  const check::CModel model;
  const std::vector<std::int16_t> pcm = pcm16(kSamples, 1);
  const std::vector<float> samples = floats(pcm);
  for (const std::uint32_t delay_ms : {0u, 80u, 2400u}) {
    const check::Transcription right = expected(model, samples, delay_ms == 0 ? 6 : delay_ms / 80);
    CHECK(right.events.size() > 3);
    for (const std::uint32_t recorded : {0u, 1u}) {
      ve_stream_options options = VE_STREAM_OPTIONS_INIT;
      options.delay_ms = delay_ms;
      options.recorded = recorded;
      ve_stream* stream = model.stream(&options);
      CHECK_EQ(ve_stream_feed_i16(stream, pcm.data(), pcm.size()), VE_OK);
      CHECK_EQ(ve_stream_finish(stream), VE_OK);
      check::check_same(result_of(stream), right);
      CHECK_EQ(ve_stream_reset(stream), VE_OK);
      check::Transcription pieces;
      for (std::size_t begin = 0; begin < samples.size(); begin += 3001) {
        const std::size_t count = std::min<std::size_t>(3001, samples.size() - begin);
        CHECK_EQ(ve_stream_feed_f32(stream, &samples[begin], count), VE_OK);
        if (begin % 2 == 0) take_events(stream, pieces.events);  // events wait until they are taken
      }
      CHECK_EQ(ve_stream_finish(stream), VE_OK);
      const check::Transcription rest = result_of(stream);
      CHECK_EQ(rest.text, right.text);
      CHECK(rest.ids == right.ids);
      pieces.events.insert(pieces.events.end(), rest.events.begin(), rest.events.end());
      CHECK_EQ(check::joined_text(pieces.events), right.text);
      CHECK_EQ(pieces.events.size(), right.events.size());
      ve_stream_free(stream);
    }
  }
}

TEST("streams in shared passes give what each gives alone") {
  const check::CModel model;
  std::vector<std::vector<float>> audio;
  std::vector<ve_stream*> streams;
  std::vector<ve_work> work;
  for (std::uint64_t i = 0; i < 3; ++i) {
    audio.push_back(check::synthetic_audio(9000 + 999 * i, i));
    streams.push_back(model.stream());
    ve_work item = VE_WORK_INIT;
    item.stream = streams.back();
    item.samples = audio.back().data();
    item.count = audio.back().size();
    item.action = VE_FEED;
    work.push_back(item);
  }
  CHECK_EQ(ve_run_streams(work.data(), work.size()), VE_OK);
  for (ve_work& item : work) item.action = VE_FINISH;
  CHECK_EQ(ve_run_streams(work.data(), work.size()), VE_OK);
  for (std::size_t i = 0; i < streams.size(); ++i) {
    check::check_same(result_of(streams[i]), expected(model, audio[i], 6));
    ve_stream_free(streams[i]);
  }
  CHECK_EQ(ve_run_streams(nullptr, 0), VE_OK);
}

TEST("every option reaches the stream") {
  const check::CModel model;
  const std::vector<float> samples = check::synthetic_audio(kSamples, 3);
  ve_stream_options options = VE_STREAM_OPTIONS_INIT;
  options.gain_decibels = -20.0f;
  options.discard_history = 1;
  options.max_batch_tokens = 1;
  ve_stream* stream = model.stream(&options);
  CHECK_EQ(ve_stream_feed_f32(stream, samples.data(), samples.size()), VE_OK);
  CHECK_EQ(ve_stream_flush(stream), VE_OK);
  ve_stats stats = VE_STATS_INIT;
  CHECK_EQ(ve_stream_get_stats(stream, &stats), VE_OK);
  CHECK_EQ(stats.fed_samples, kSamples);
  CHECK_EQ(stats.gain_decibels, -20.0);
  CHECK(stats.encode_calls > kSamples / 1280);  // one per step
  CHECK(stats.generated_tokens > kSamples / 1280);
  CHECK_EQ(stats.compute_ns, stats.mel_ns + stats.encode_ns + stats.decode_ns);
  CHECK(stats.mel_ns > 0 && stats.encode_ns > 0 && stats.decode_ns > 0);
  const check::Transcription result = result_of(stream);
  CHECK(result.ids.empty() && result.text.empty() && !check::joined_text(result.events).empty());
  ve_stream_free(stream);
}

TEST("after finish only reset and reading are possible") {
  const check::CModel model;
  const std::vector<float> samples = check::synthetic_audio(kSamples, 2);
  ve_stream* stream = model.stream();
  CHECK_EQ(ve_stream_feed_f32(stream, samples.data(), samples.size()), VE_OK);
  CHECK_EQ(ve_stream_finish(stream), VE_OK);
  const check::Transcription first = result_of(stream);
  CHECK_FAILS(ve_stream_feed_f32(stream, samples.data(), 1), VE_ERROR_USAGE, "reset");
  CHECK_FAILS(ve_stream_feed_i16(stream, nullptr, 0), VE_ERROR_USAGE, "reset");
  CHECK_FAILS(ve_stream_flush(stream), VE_ERROR_USAGE, "ve_stream_flush: the stream is finished");
  CHECK_FAILS(ve_stream_finish(stream), VE_ERROR_USAGE, "reset");
  CHECK(result_of(stream).ids == first.ids);
  CHECK_EQ(ve_stream_reset(stream), VE_OK);
  CHECK(result_of(stream).ids.empty());
  for (int again = 0; again < 2; ++again) {  // events that nobody took are gone with the first
    CHECK_EQ(ve_stream_reset(stream), VE_OK);
    CHECK_EQ(ve_stream_feed_f32(stream, samples.data(), samples.size()), VE_OK);
    CHECK_EQ(ve_stream_finish(stream), VE_OK);
  }
  check::check_same(result_of(stream), first);
  ve_stream_free(stream);
}

TEST("a stream keeps its engine alive") {
  check::CModel model;
  const std::vector<float> samples = check::synthetic_audio(kSamples, 4);
  const check::Transcription right = expected(model, samples, 6);
  ve_stream* stream = model.stream();
  ve_engine_free(model.engine);
  model.engine = nullptr;
  CHECK_EQ(ve_stream_feed_f32(stream, samples.data(), samples.size()), VE_OK);
  CHECK_EQ(ve_stream_finish(stream), VE_OK);
  check::check_same(result_of(stream), right);
  ve_stream_free(stream);
}

// Under ThreadSanitizer this also shows that refusing and reading are free of races.
TEST("two threads feed, a third watches: what was refused is missing, nothing else") {
  const check::CModel model;
  const float silence[1280] = {};
  ve_stream* stream = model.stream();
  std::atomic<std::uint64_t> accepted{0};
  const auto feed = [&] {
    for (int i = 0; i < 12; ++i) {
      const ve_status status = ve_stream_feed_f32(stream, silence, 1280);
      if (status == VE_OK) accepted += 1280;
      else CHECK_EQ(status, VE_ERROR_USAGE);
    }
  };
  std::thread first(feed), second(feed);
  for (int i = 0; i < 50; ++i) {
    ve_stats stats = VE_STATS_INIT;
    CHECK_EQ(ve_stream_get_stats(stream, &stats), VE_OK);
  }
  first.join();
  second.join();
  CHECK_EQ(stream->stream.stats().fed_samples, accepted.load());
  CHECK(accepted >= 12 * 1280u);
  ve_stream_free(stream);
}

TEST("a watcher never costs a feed") {
  const check::CModel model;
  const float silence[1280] = {};
  ve_stream* stream = model.stream();
  std::atomic<bool> done{false};
  std::thread watcher([&] {
    while (!done) {
      ve_stats stats = VE_STATS_INIT;
      CHECK_EQ(ve_stream_get_stats(stream, &stats), VE_OK);
    }
  });
  for (int i = 0; i < 20; ++i) CHECK_EQ(ve_stream_feed_f32(stream, silence, 1280), VE_OK);
  done = true;
  watcher.join();
  ve_stream_free(stream);
}

}  // namespace voxtral_edge

CHECK_MAIN()
