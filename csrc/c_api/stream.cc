// Streams: audio in, events out.
#include "engine/stream.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <deque>
#include <string>
#include <vector>

#include "audio/pcm.h"
#include "c_api/guard.h"
#include "c_api/handles.h"
#include "engine/hotwords.h"
#include "engine/option_values.h"
#include "engine/stream_group.h"

namespace voxtral_edge::c_api {
namespace {

// Sizes of the structures' first versions, which stay whatever is appended; no padding at the end (see engine.cc).
constexpr std::size_t kStreamOptionsSize = offsetof(ve_stream_options, hotwords) + sizeof(const char*);
constexpr std::size_t kStatsSize = offsetof(ve_stats, gain_decibels) + sizeof(double);
constexpr std::size_t kWorkSize = offsetof(ve_work, reserved) + sizeof(uint32_t);
static_assert(kStreamOptionsSize == sizeof(ve_stream_options) && kStatsSize == sizeof(ve_stats) &&
              kWorkSize == sizeof(ve_work));

void check_reserved(std::uint32_t value, const char* name) {
  if (value != 0) refuse(std::string(name) + ".reserved is " + std::to_string(value) + "; it must be 0");
}

StreamOptions stream_options(const ve_stream_options& o, const TextEncoder& encoder) {
  check_reserved(o.reserved, "options");
  if (o.automatic_gain != 0 && o.gain_decibels != 0.0f) {
    refuse("options: gain_decibels and automatic_gain exclude each other; set one of them");
  }
  StreamOptions options;
  options.delay_tokens = delay_tokens_of(o.delay_ms == 0 ? kDefaultDelayMs : o.delay_ms);
  options.max_batch_tokens = o.max_batch_tokens;
  options.gain.decibels = o.gain_decibels;
  if (o.automatic_gain != 0) options.gain.decibels.reset();
  if (o.break_pad_runs != 0) options.pad_run_penalty.emplace();
  options.keep_history = o.discard_history == 0;
  if (o.hotwords != nullptr) options.bias = hotword_tree(parse_hotwords(o.hotwords, '\n'), encoder);
  return options;
}

// One thread's turn at acting on a stream. Others that want to act are refused; those that read are waited for, which
// takes no longer than copying some numbers, so that watching a stream never costs it a feed.
class Turn {
 public:
  explicit Turn(ve_stream& handle) : claim_(handle.acting), lock_(handle.mutex) {
    handle.events.erase(handle.events.begin(),
                        handle.events.begin() + static_cast<std::ptrdiff_t>(handle.taken_events));
    handle.taken_events = 0;
  }

 private:
  struct Claim {
    explicit Claim(std::atomic_flag& acting) : flag(acting) {
      if (flag.test_and_set(std::memory_order_acquire)) {
        refuse("another thread is using this stream; give each thread a stream of its own, or let them take turns");
      }
    }
    ~Claim() { flag.clear(std::memory_order_release); }
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;
    std::atomic_flag& flag;
  };
  Claim claim_;
  std::lock_guard<std::mutex> lock_;
};

template <class Sample>
std::span<const Sample> samples_of(const Sample* samples, std::size_t count) {
  if (count > 0) required(samples, "samples");
  return {samples, count};
}

// In pieces on the stack: any amount of 16-bit audio takes no more memory. All but the last are followed by more.
void feed_converted(ve_stream& handle, std::span<const std::int16_t> pcm) {
  std::array<float, 16000> piece;
  do {
    const std::span<const std::int16_t> part = pcm.first(std::min(pcm.size(), piece.size()));
    pcm = pcm.subspan(part.size());
    pcm16_to_float(part, piece.data());
    const std::span<const float> samples(piece.data(), part.size());
    if (handle.recorded || !pcm.empty()) handle.stream.feed_more(samples, handle.events);
    else handle.stream.feed(samples, handle.events);
  } while (!pcm.empty());
}

ve_event shown(const Event& event) {
  ve_event result{};
  switch (event.type) {
    case EventType::text:
      result.type = VE_EVENT_TEXT;
      break;
    case EventType::word:
      result.type = VE_EVENT_WORD;
      break;
    case EventType::segment:
      result.type = VE_EVENT_SEGMENT;
      break;
    case EventType::final:
      result.type = VE_EVENT_FINAL;
      break;
  }
  result.probability = event.probability;
  result.text = event.text.c_str();
  result.text_bytes = event.text.size();
  result.start_s = event.start_s;
  result.end_s = event.end_s;
  result.token_index = event.token_index;
  return result;
}

ve_stats stats_of(const Stream& stream) {
  const StreamStats& s = stream.stats();
  ve_stats stats{};
  stats.fed_samples = s.fed_samples;
  stats.replaced_samples = s.replaced_samples;
  stats.generated_tokens = s.generated_tokens;
  stats.compute_ns = s.mel_ns + s.encode_ns + s.decode_ns;
  stats.mel_ns = s.mel_ns;
  stats.encode_ns = s.encode_ns;
  stats.decode_ns = s.decode_ns;
  stats.encode_calls = s.encode_calls;
  stats.decode_calls = s.decode_calls;
  stats.drafted_tokens = s.drafted_tokens;
  stats.accepted_drafts = s.accepted_drafts;
  stats.saturated_numbers = stream.saturated_numbers();
  stats.gain_decibels = s.gain_decibels;
  return stats;
}

StreamAction action_of(const ve_work& work) {
  switch (work.action) {
    case VE_FEED:
      return work.stream->recorded ? StreamAction::feed_more : StreamAction::feed;
    case VE_FLUSH:
      return StreamAction::flush;
    case VE_FINISH:
      return StreamAction::finish;
    default:
      refuse("action is " + std::to_string(work.action) + "; it must be VE_FEED, VE_FLUSH or VE_FINISH");
  }
}

StreamWork checked_work(const ve_work& given) {
  const ve_work work = taken(given, kWorkSize, "work");
  check_reserved(work.reserved, "work");
  ve_stream& handle = required(work.stream, "stream");
  const StreamAction action = action_of(work);
  return {&handle.stream, action, samples_of(work.samples, work.count), &handle.events};
}

void run_work(const ve_work* first, std::size_t count) {
  const std::size_t distance = count == 0 ? 0 : checked_size(required(first, "work").struct_size, kWorkSize, "work");
  std::vector<StreamWork> work;
  std::vector<ve_stream*> handles;
  for (std::size_t i = 0; i < count; ++i) {
    const auto& item = *reinterpret_cast<const ve_work*>(reinterpret_cast<const char*>(first) + i * distance);
    try {
      if (item.struct_size != distance) refuse("struct_size differs from that of work[0]");
      work.push_back(checked_work(item));
      if (std::find(handles.begin(), handles.end(), item.stream) != handles.end()) {
        refuse("this stream appears twice in one call; join its samples first");
      }
    } catch (const Error& error) {
      throw Error(error.code(), "work[" + std::to_string(i) + "]: " + error.what());
    }
    handles.push_back(item.stream);
  }
  std::deque<Turn> turns;
  for (ve_stream* handle : handles) turns.emplace_back(*handle);
  run_streams(work);
}

}  // namespace
}  // namespace voxtral_edge::c_api

extern "C" {

using namespace voxtral_edge;
using namespace voxtral_edge::c_api;

ve_status ve_stream_create(const ve_engine* engine, const ve_stream_options* options, ve_stream** stream) {
  return guarded("ve_stream_create", [&] {
    required(stream, "stream") = nullptr;
    required(engine, "engine");
    const ve_stream_options given =
        options == nullptr ? ve_stream_options VE_STREAM_OPTIONS_INIT : taken(*options, kStreamOptionsSize, "options");
    *stream = new ve_stream(*engine, stream_options(given, *engine->opened.encoder), given.recorded != 0);
  });
}

void ve_stream_free(ve_stream* stream) {
  if (stream == nullptr) return;
  stream->mutex.lock();  // a call that is running in another thread
  stream->mutex.unlock();
  delete stream;
}

ve_status ve_stream_feed_f32(ve_stream* stream, const float* samples, size_t count) {
  return guarded("ve_stream_feed_f32", [&] {
    const Turn turn(required(stream, "stream"));
    const std::span<const float> given = samples_of(samples, count);
    if (stream->recorded) stream->stream.feed_more(given, stream->events);
    else stream->stream.feed(given, stream->events);
  });
}

ve_status ve_stream_feed_i16(ve_stream* stream, const int16_t* samples, size_t count) {
  return guarded("ve_stream_feed_i16", [&] {
    const Turn turn(required(stream, "stream"));
    feed_converted(*stream, samples_of(samples, count));
  });
}

ve_status ve_stream_flush(ve_stream* stream) {
  return guarded("ve_stream_flush", [&] {
    const Turn turn(required(stream, "stream"));
    stream->stream.flush(stream->events);
  });
}

ve_status ve_stream_finish(ve_stream* stream) {
  return guarded("ve_stream_finish", [&] {
    const Turn turn(required(stream, "stream"));
    stream->stream.finish(stream->events);
  });
}

ve_status ve_stream_reset(ve_stream* stream) {
  return guarded("ve_stream_reset", [&] {
    const Turn turn(required(stream, "stream"));
    stream->events.clear();
    stream->stream.reset();
  });
}

ve_status ve_stream_next_event(ve_stream* stream, const ve_event** event) {
  return guarded("ve_stream_next_event", [&] {
    required(event, "event") = nullptr;
    const std::lock_guard<std::mutex> lock(required(stream, "stream").mutex);
    if (stream->taken_events == stream->events.size()) return;
    stream->shown = shown(stream->events[stream->taken_events]);
    ++stream->taken_events;
    *event = &stream->shown;
  });
}

ve_status ve_stream_text(const ve_stream* stream, const char** text, size_t* bytes) {
  return guarded("ve_stream_text", [&] {
    const std::lock_guard<std::mutex> lock(required(stream, "stream").mutex);
    required(text, "text") = stream->stream.text().c_str();
    if (bytes != nullptr) *bytes = stream->stream.text().size();
  });
}

ve_status ve_stream_token_ids(const ve_stream* stream, const uint32_t** ids, size_t* count) {
  return guarded("ve_stream_token_ids", [&] {
    const std::lock_guard<std::mutex> lock(required(stream, "stream").mutex);
    required(count, "count") = 0;
    required(ids, "ids") = stream->stream.token_ids().data();
    *count = stream->stream.token_ids().size();
  });
}

ve_status ve_stream_get_stats(const ve_stream* stream, ve_stats* stats) {
  return guarded("ve_stream_get_stats", [&] {
    const std::lock_guard<std::mutex> lock(required(stream, "stream").mutex);
    give(stats_of(stream->stream), required(stats, "stats"), kStatsSize, "stats");
  });
}

ve_status ve_run_streams(const ve_work* work, size_t count) {
  return guarded("ve_run_streams", [&] { run_work(work, count); });
}

}  // extern "C"
