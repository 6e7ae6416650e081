#include "engine/stream_group.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/stopwatch.h"

namespace voxtral_edge {
namespace {

// The lists of one call. They are small, and kept for the thread's next call: after its first calls a step allocates
// nothing. A call within a call, from an engine's own pass, finds none kept and makes its own.
class Lists {
 public:
  Lists() : lists_(std::exchange(kept(), {})) {}
  ~Lists() { kept() = std::move(lists_); }
  Lists(const Lists&) = delete;
  Lists& operator=(const Lists&) = delete;

  // One encode pass over all streams that have complete tokens waiting. False when none has.
  bool encode(Engine& engine, std::span<const StreamWork> work, std::size_t most_tokens) {
    return pass(
        lists_.encodes, work,
        [&](Stream& stream, EncodeRequest& request) { return stream.next_encode(request, most_tokens); },
        [&](std::span<const EncodeRequest> requests) { return engine.encode(requests); },
        [](const StreamWork& item, std::uint64_t took_ns, const EncodeTimes& times) {
          item.stream->encoded(took_ns, times);
        });
  }

  // One decode pass over all streams that have tokens encoded. False when none has.
  bool decode(Engine& engine, std::span<const StreamWork> work, std::size_t most_tokens) {
    return pass(
        lists_.decodes, work,
        [&](Stream& stream, DecodeRequest& request) { return stream.next_decode(request, most_tokens); },
        [&](std::span<const DecodeRequest> requests) { return engine.decode(requests); },
        [](const StreamWork& item, std::uint64_t took_ns, const DecodeTimes& times) {
          item.stream->decoded(took_ns, times, *item.events);
        });
  }

 private:
  // next(stream, request): whether the stream has one; run(requests): stage times; take(work, took_ns, times): the
  // results are there.
  template <class Request, class Next, class Run, class Take>
  bool pass(std::vector<Request>& requests, std::span<const StreamWork> work, Next next, Run run, Take take) {
    requests.clear();
    lists_.owners.clear();
    for (const StreamWork& item : work) {
      Request request{};
      if (!next(*item.stream, request)) continue;
      requests.push_back(request);
      lists_.owners.push_back(&item);
    }
    if (requests.empty()) return false;
    Stopwatch watch;
    const auto times = run(requests);
    const std::uint64_t took_ns = watch.lap_ns();
    for (const StreamWork* owner : lists_.owners) take(*owner, took_ns, times);
    return true;
  }

  struct Storage {
    std::vector<EncodeRequest> encodes;
    std::vector<DecodeRequest> decodes;
    std::vector<const StreamWork*> owners;
  };
  static Storage& kept() {
    thread_local Storage storage;
    return storage;
  }
  Storage lists_;
};

void check_action(const StreamWork& item) {
  const Stream& stream = *item.stream;
  if (stream.failed()) {
    throw Error(ErrorCode::usage, "the stream's last action failed in the middle: call reset() to start a new one");
  }
  if (stream.finished()) throw Error(ErrorCode::usage, "the stream is finished: call reset() to start a new one");
  if (item.action == StreamAction::resume && !stream.busy()) {
    throw Error(ErrorCode::usage, "resume: nothing of this stream is unfinished");
  }
  if (item.action != StreamAction::resume && stream.busy()) {
    throw Error(ErrorCode::usage, "the stream's last action is unfinished: resume it first");
  }
}

void check(std::span<const StreamWork> work, const RunBounds& bounds) {
  if (bounds.rounds == 0 || bounds.tokens == 0) {
    throw Error(ErrorCode::usage, "a call of no rounds or no tokens does nothing: give at least 1");
  }
  for (std::size_t i = 0; i < work.size(); ++i) {
    if (&work[i].stream->engine() != &work[0].stream->engine()) {
      throw Error(ErrorCode::usage,
                  "streams of different engines cannot share a pass: run each engine's streams alone");
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (work[i].stream == work[j].stream) {
        throw Error(ErrorCode::usage, "a stream appears twice in one call: join its samples first");
      }
    }
    check_action(work[i]);
  }
}

}  // namespace

void run_streams(std::span<const StreamWork> work, const RunBounds& bounds) {
  check(work, bounds);
  if (work.empty()) return;
  Lists lists;
  Engine& engine = work[0].stream->engine();
  try {
    for (const StreamWork& item : work) item.stream->begin(item.action, item.samples);
    for (std::size_t round = 0; round < bounds.rounds; ++round) {
      // What a call brings joins the first round, whatever other streams have left over. After that, more is encoded
      // once nobody has enough for a full decode pass: streams that were fed alike encode together again.
      const bool hungry = std::all_of(work.begin(), work.end(), [](const auto& w) { return w.stream->wants_audio(); });
      const bool encoded = (round == 0 || hungry) && lists.encode(engine, work, bounds.tokens);
      if (!lists.decode(engine, work, bounds.tokens) && !encoded) break;
    }
    for (const StreamWork& item : work) item.stream->pause(*item.events);
  } catch (...) {
    for (const StreamWork& item : work) item.stream->fail();
    throw;
  }
}

}  // namespace voxtral_edge
