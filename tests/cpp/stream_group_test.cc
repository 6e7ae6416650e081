// Several streams in shared passes: each gets what it gets alone.
#include "engine/stream_group.h"

#include <algorithm>
#include <functional>
#include <string_view>
#include <utility>
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

// A real engine whose passes are counted, or interrupted by what a test does in the middle of one.
class WatchedEngine final : public Engine {
 public:
  explicit WatchedEngine(std::shared_ptr<Engine> real) : real_(std::move(real)) {}
  const ModelConfig& config() const override { return real_->config(); }
  std::unique_ptr<EngineState> create_state(std::size_t delay_tokens, std::uint64_t first) override {
    return real_->create_state(delay_tokens, first);
  }
  EncodeTimes encode(std::span<const EncodeRequest> requests) override {
    ++encodes;
    for (const EncodeRequest& r : requests) largest = std::max(largest, r.tokens);
    during_pass();
    return real_->encode(requests);
  }
  DecodeTimes decode(std::span<const DecodeRequest> requests) override {
    ++decodes;
    for (const DecodeRequest& r : requests) largest = std::max(largest, r.positions);
    during_pass();
    return real_->decode(requests);
  }
  void rewind(EngineState& state, std::size_t positions) override { real_->rewind(state, positions); }
  std::size_t preferred_batch_tokens() const override { return real_->preferred_batch_tokens(); }
  std::span<const double> decode_costs() const override { return real_->decode_costs(); }

  std::size_t encodes = 0, decodes = 0, largest = 0;
  std::function<void()> during_pass = [] {};

 private:
  std::shared_ptr<Engine> real_;
};

StreamAction some_action(check::Numbers& numbers, bool last) {
  if (last) return StreamAction::finish;
  return numbers.below(6) == 0 ? StreamAction::flush : StreamAction::feed;
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

// Their rows stand beside each other in a pass and their positions follow each other, but they see different rings.
TEST("streams one token apart keep their own past") {
  for (const char* precision : {"fp32", "int4"}) {
    const TinyModel model = make_model(precision);
    StreamOptions options;
    options.delay_tokens = 2;
    options.trace = true;
    Transcription got[2];
    Stream first(model.engine, model.tokenizer, options), second(model.engine, model.tokenizer, options);
    Stream* const streams[] = {&first, &second};
    const std::vector<float> audio[] = {check::synthetic_audio(20 * 1280, 1), check::synthetic_audio(21 * 1280, 2)};
    second.feed(std::span(audio[1]).first(1280), got[1].events);
    for (std::size_t step = 0; step <= 20; ++step) {
      const StreamAction action = step < 20 ? StreamAction::feed : StreamAction::finish;
      std::vector<StreamWork> work;
      for (std::size_t i = 0; i < 2; ++i) {
        const auto samples = std::span(audio[i]).subspan((step + i) * 1280, step < 20 ? 1280 : 0);
        work.push_back({streams[i], action, samples, &got[i].events});
      }
      run_streams(work);
    }
    for (std::size_t i = 0; i < 2; ++i) {
      got[i].ids = streams[i]->token_ids();
      got[i].text = streams[i]->text();
      got[i].trace = streams[i]->trace();
      check::check_same(got[i], check::transcribe(model, options, audio[i]));
    }
  }
}

TEST("bounded calls, in which streams start and resume at different times, change nothing") {
  const TinyModel model = make_model("int4");
  std::vector<Member> members = make_members(model, 5), alone = make_members(model, 5);
  check::Numbers numbers(7);
  std::size_t resumed = 0;
  while (!std::all_of(members.begin(), members.end(), [](const Member& m) { return m.stream->finished(); })) {
    std::vector<StreamWork> work;
    std::vector<std::vector<float>> lent(members.size());  // ends with the call: streams must not look at it later
    for (std::size_t i = 0; i < members.size(); ++i) {
      Member &m = members[i], &other = alone[i];
      if (m.stream->finished() || numbers.below(3) == 0) continue;
      StreamAction action = some_action(numbers, m.done == m.audio.size());
      if (m.stream->busy()) {
        action = StreamAction::resume;
        ++resumed;
      }
      if (action == StreamAction::feed) {
        const std::size_t count = std::min(1 + numbers.below(20000), m.audio.size() - m.done);
        lent[i].assign(m.audio.data() + m.done, m.audio.data() + m.done + count);
        other.stream->feed(lent[i], other.got.events);
        m.done += count;
      }
      if (action == StreamAction::flush) other.stream->flush(other.got.events);
      if (action == StreamAction::finish) other.stream->finish(other.got.events);
      work.push_back({m.stream.get(), action, lent[i], &m.got.events});
    }
    run_streams(work, {.rounds = 1 + numbers.below(3), .tokens = 1 + numbers.below(9)});
  }
  CHECK(resumed > 5);
  for (std::size_t i = 0; i < members.size(); ++i) {
    for (Member* m : {&members[i], &alone[i]}) {
      m->got.ids = m->stream->token_ids();
      m->got.text = m->stream->text();
    }
    check::check_same(members[i].got, alone[i].got);
  }
}

TEST("streams that were fed alike encode together, also when one of them decodes faster") {
  const TinyModel model = make_model("int4");
  const auto engine = std::make_shared<WatchedEngine>(model.engine);
  StreamOptions options;
  options.delay_tokens = 2;
  options.max_drafts = 0;
  Stream slow(engine, model.tokenizer, options);
  options.max_drafts = 7;
  Stream quick(engine, model.tokenizer, options);
  const std::vector<float> audio(64 * 1280 + 40);  // silence: easily guessed
  engine->encodes = 0;
  Events events;
  const std::vector<StreamWork> work{{&slow, StreamAction::feed, audio, &events},
                                     {&quick, StreamAction::feed, audio, &events}};
  run_streams(work);
  CHECK(quick.stats().decode_calls < slow.stats().decode_calls);
  CHECK(engine->encodes <= 64 / engine->preferred_batch_tokens() + 1);  // each for itself: nine
}

TEST("a live stream gets its token in the round that brings its audio, whatever another has to do") {
  const TinyModel model = make_model("int4");
  const auto engine = std::make_shared<WatchedEngine>(model.engine);
  StreamOptions options;
  options.delay_tokens = 6;
  Stream live(engine, model.tokenizer, options), other(engine, model.tokenizer, options);
  const std::size_t token = engine->config().audio.samples_per_token;
  const std::vector<float> audio = check::synthetic_audio(100 * token, 5);
  Events events, ignored;
  std::size_t fed = 0;
  const auto next_token = [&] { return std::span(audio).subspan(token * fed++, token); };
  while (live.stats().generated_tokens == 0) live.feed(next_token(), events);
  StreamAction action = StreamAction::feed;
  std::span<const float> backlog(audio.data(), 40 * token);  // a file; then its end
  std::size_t rounds = 0;
  while (!other.finished()) {
    const std::uint64_t before = live.stats().generated_tokens;
    engine->encodes = engine->decodes = engine->largest = 0;
    const std::vector<StreamWork> work{{&live, StreamAction::feed, next_token(), &events},
                                       {&other, action, backlog, &ignored}};
    run_streams(work, {.rounds = 1, .tokens = 4});
    CHECK_EQ(live.stats().generated_tokens, before + 1);
    CHECK(!live.busy());
    CHECK_EQ(engine->encodes, 1u);
    CHECK_EQ(engine->decodes, 1u);
    CHECK(engine->largest <= 4);
    backlog = {};
    action = other.busy() ? StreamAction::resume : StreamAction::finish;
    ++rounds;
  }
  CHECK(rounds > 10);
}

TEST("an engine may run other streams in the middle of a pass") {
  const TinyModel model = make_model("int4");
  const auto engine = std::make_shared<WatchedEngine>(model.engine);
  const std::vector<float> audio = check::synthetic_audio(40000, 1), other_audio = check::synthetic_audio(40000, 2);
  StreamOptions options;
  options.delay_tokens = 3;
  Stream outer(engine, model.tokenizer, options), inner(engine, model.tokenizer, options);
  check::Transcription got, got_inner;
  std::size_t fed = 0;
  bool inside = false;
  engine->during_pass = [&] {
    if (inside || fed == other_audio.size()) return;
    inside = true;
    const std::size_t count = std::min<std::size_t>(3000, other_audio.size() - fed);
    inner.feed(std::span(other_audio).subspan(fed, count), got_inner.events);
    fed += count;
    inside = false;
  };
  got = check::transcribe(outer, audio);
  CHECK_EQ(fed, other_audio.size());
  inner.finish(got_inner.events);
  got_inner.ids = inner.token_ids();
  got_inner.text = inner.text();
  check::check_same(got, check::transcribe(model, options, audio));
  check::check_same(got_inner, check::transcribe(model, options, other_audio));
}

TEST("unfinished actions are refused what must wait for them, and a failed pass leaves none") {
  const TinyModel model = make_model("int4");
  const auto engine = std::make_shared<WatchedEngine>(model.engine);
  StreamOptions options;
  options.delay_tokens = 1;
  Stream stream(engine, model.tokenizer, options);
  const std::vector<float> audio(20000);
  Events events;
  const auto run = [&](StreamAction action, RunBounds bounds = {}) {
    const StreamWork work{&stream, action, action == StreamAction::feed ? audio : std::span<const float>{}, &events};
    run_streams({&work, 1}, bounds);
  };
  CHECK_THROWS_CODE(run(StreamAction::resume), ErrorCode::usage);
  CHECK_THROWS_CODE(run(StreamAction::feed, {.rounds = 0}), ErrorCode::usage);
  CHECK_THROWS_CODE(run(StreamAction::feed, {.tokens = 0}), ErrorCode::usage);
  run(StreamAction::feed, {.rounds = 1, .tokens = 1});
  CHECK(stream.busy());
  CHECK_THROWS_CODE(run(StreamAction::finish), ErrorCode::usage);
  CHECK_THROWS_CODE(run(StreamAction::flush), ErrorCode::usage);
  CHECK_THROWS_CODE(run(StreamAction::feed), ErrorCode::usage);
  run(StreamAction::resume);
  CHECK(!stream.busy());
  run(StreamAction::finish, {.rounds = 1});
  CHECK_THROWS_CODE(run(StreamAction::feed), ErrorCode::usage);
  stream.reset();
  engine->during_pass = [] { throw Error(ErrorCode::internal, "broken"); };
  CHECK_THROWS_CODE(run(StreamAction::feed), ErrorCode::internal);
  CHECK(!stream.busy());
}

// What a pass that broke has done to its streams nobody knows: its engine may have taken one stream's audio, whose
// stream would hand it over again.
TEST("streams whose pass failed refuse everything but reset, and are as new after it") {
  const TinyModel model = make_model("int4");
  const auto engine = std::make_shared<WatchedEngine>(model.engine);
  StreamOptions options;
  options.delay_tokens = 2;
  const std::vector<float> audio = check::synthetic_audio(20000, 3);
  const Transcription expected = check::transcribe(model, options, audio);
  Stream first(engine, model.tokenizer, options), second(engine, model.tokenizer, options);
  Events events;
  for (const char* stage : {"encode", "decode", "finish"}) {
    const bool finish = std::string_view(stage) == "finish";
    const std::size_t broken_pass = std::string_view(stage) == "decode" ? 2 : 1;
    if (finish) first.feed(audio, events), second.feed(audio, events);
    engine->during_pass = [passes = std::size_t{0}, broken_pass]() mutable {
      if (++passes == broken_pass) throw Error(ErrorCode::internal, "broken");
    };
    const StreamAction action = finish ? StreamAction::finish : StreamAction::feed;
    const std::span<const float> samples = finish ? std::span<const float>{} : audio;
    const std::vector<StreamWork> work{{&first, action, samples, &events}, {&second, action, samples, &events}};
    CHECK_THROWS_CODE(run_streams(work), ErrorCode::internal);
    engine->during_pass = [] {};
    for (Stream* stream : {&first, &second}) {
      CHECK(!stream->busy());
      CHECK(stream->failed());
      CHECK_THROWS_CODE(stream->feed(audio, events), ErrorCode::usage);
      CHECK_THROWS_CODE(stream->flush(events), ErrorCode::usage);
      CHECK_THROWS_CODE(stream->finish(events), ErrorCode::usage);
      stream->reset();
      CHECK(!stream->failed());
      check::check_same(check::transcribe(*stream, audio), expected);
      stream->reset();
    }
  }
}

TEST("a reset that fails leaves a stream that only another reset brings back") {
  const TinyModel model = make_model("int4");
  const auto engine = std::make_shared<WatchedEngine>(model.engine);
  StreamOptions options;
  options.delay_tokens = 2;
  const std::vector<float> audio = check::synthetic_audio(9000, 3);
  Stream stream(engine, model.tokenizer, options);
  const Transcription expected = check::transcribe(stream, audio);
  engine->during_pass = [] { throw Error(ErrorCode::device, "no memory"); };
  CHECK_THROWS_CODE(stream.reset(), ErrorCode::device);
  engine->during_pass = [] {};
  Events events;
  CHECK_THROWS_CODE(stream.feed(audio, events), ErrorCode::usage);
  stream.reset();
  check::check_same(check::transcribe(stream, audio), expected);
}

TEST("wrong groups are refused before anything runs") {
  const TinyModel model = make_model("int4"), other = check::with_engine(model, 1);
  std::vector<Member> members = make_members(model, 2), strangers = make_members(other, 1);
  const std::vector<float> audio(3000);
  Events events;
  const auto work = [&](Stream& stream) { return StreamWork{&stream, StreamAction::feed, audio, &events}; };
  const std::vector<StreamWork> twice{work(*members[0].stream), work(*members[1].stream), work(*members[0].stream)};
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
