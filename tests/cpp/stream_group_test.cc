// Several streams in shared passes: each gets what it gets alone.
#include "engine/stream_group.h"

#include <algorithm>
#include <vector>

#include "check.h"
#include "engine_testing.h"

namespace voxtral_edge {
namespace {

using check::TinyModel;
using check::Transcription;

TinyModel make_model(const char* precision) {
  check::TinyPackageOptions options;
  options.precision = precision;
  return check::make_model(options, 2);
}

struct Member {
  std::unique_ptr<Stream> stream;
  std::vector<float> audio;
  std::size_t done = 0;
  Transcription got;
};

std::vector<Member> make_members(const TinyModel& model, std::size_t count) {
  std::vector<Member> members(count);
  for (std::size_t i = 0; i < count; ++i) {
    StreamOptions options;
    options.delay_tokens = 1 + 7 * i % 30;
    options.max_drafts = i % 4;
    options.max_batch_tokens = i % 3 == 0 ? 0 : i;
    options.start_token_position = i * 1000003;
    members[i].stream = std::make_unique<Stream>(model.engine, model.tokenizer, options);
    members[i].audio = check::synthetic_audio(15000 + 4321 * i, i);
  }
  return members;
}

}  // namespace

TEST("streams that join, flush and finish at different times in one group") {
  for (const char* precision : {"fp32", "fp16", "int8", "int4"}) {
    const TinyModel model = make_model(precision);
    std::vector<Member> members = make_members(model, 5), alone = make_members(model, 5);
    check::Numbers numbers(3);
    while (true) {
      std::vector<StreamWork> work;
      for (std::size_t i = 0; i < members.size(); ++i) {
        Member& m = members[i];
        if (m.stream->finished() || numbers.below(3) == 0) continue;  // this one has nothing this time
        const bool last = m.done == m.audio.size();
        const bool flush = !last && numbers.below(6) == 0;
        const std::size_t count = last || flush ? 0 : std::min(1 + numbers.below(4000), m.audio.size() - m.done);
        const StreamAction action = last ? StreamAction::finish : flush ? StreamAction::flush : StreamAction::feed;
        const std::span<const float> samples(m.audio.data() + m.done, count);
        work.push_back({m.stream.get(), action, samples, &m.got.events});
        m.done += count;
        // The same calls, alone.
        Member& other = alone[i];
        if (last) other.stream->finish(other.got.events);
        else if (flush) other.stream->flush(other.got.events);
        else other.stream->feed(samples, other.got.events);
      }
      run_streams(work);
      if (std::all_of(members.begin(), members.end(), [](const Member& m) { return m.stream->finished(); })) break;
    }
    for (std::size_t i = 0; i < members.size(); ++i) {
      for (Member* m : {&members[i], &alone[i]}) {
        m->got.ids = m->stream->token_ids();
        m->got.text = m->stream->text();
      }
      check::check_same(members[i].got, alone[i].got);
    }
  }
}

TEST("wrong groups are refused before anything runs") {
  const TinyModel model = make_model("int4"), other = check::with_engine(model, 1);
  std::vector<Member> members = make_members(model, 2), strangers = make_members(other, 1);
  const std::vector<float> audio(3000);
  Events events;
  const auto work = [&](Stream& stream) { return StreamWork{&stream, StreamAction::feed, audio, &events}; };
  const std::vector<StreamWork> twice{work(*members[0].stream), work(*members[0].stream)};
  CHECK_THROWS_CODE(run_streams(twice), ErrorCode::usage);
  const std::vector<StreamWork> mixed{work(*members[0].stream), work(*strangers[0].stream)};
  CHECK_THROWS_CODE(run_streams(mixed), ErrorCode::usage);
  members[1].stream->finish(events);
  const std::vector<StreamWork> finished{work(*members[0].stream), work(*members[1].stream)};
  CHECK_THROWS_CODE(run_streams(finished), ErrorCode::usage);
  CHECK_EQ(members[0].stream->stats().fed_samples, 0u);
  run_streams({});
}

}  // namespace voxtral_edge

CHECK_MAIN()
