#include "engine/stream_group.h"

#include <chrono>
#include <vector>

#include "base/error.h"

namespace voxtral_edge {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// One encode pass over all streams that have complete tokens waiting. False when none has.
bool encode_round(Engine& engine, std::span<const StreamWork> work, std::vector<EncodeRequest>& requests,
                  std::vector<const StreamWork*>& owners) {
  requests.clear();
  owners.clear();
  for (const StreamWork& item : work) {
    EncodeRequest request{};
    if (!item.stream->next_encode(request)) continue;
    requests.push_back(request);
    owners.push_back(&item);
  }
  if (requests.empty()) return false;
  const auto start = Clock::now();
  engine.encode(requests);
  const double seconds = seconds_since(start);
  for (const StreamWork* owner : owners) owner->stream->encoded(seconds);
  return true;
}

bool decode_round(Engine& engine, std::span<const StreamWork> work, std::vector<DecodeRequest>& requests,
                  std::vector<const StreamWork*>& owners) {
  requests.clear();
  owners.clear();
  for (const StreamWork& item : work) {
    DecodeRequest request{};
    if (!item.stream->next_decode(request)) continue;
    requests.push_back(request);
    owners.push_back(&item);
  }
  if (requests.empty()) return false;
  const auto start = Clock::now();
  engine.decode(requests);
  const double seconds = seconds_since(start);
  for (const StreamWork* owner : owners) owner->stream->decoded(seconds, *owner->events);
  return true;
}

void check(std::span<const StreamWork> work) {
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
    if (work[i].stream->finished()) {
      throw Error(ErrorCode::usage, "the stream is finished: call reset() to start a new one");
    }
  }
}

}  // namespace

void run_streams(std::span<const StreamWork> work) {
  if (work.empty()) return;
  check(work);
  // The lists are small and belong to the calling thread: after its first calls a step allocates nothing.
  thread_local std::vector<EncodeRequest> encodes;
  thread_local std::vector<DecodeRequest> decodes;
  thread_local std::vector<const StreamWork*> owners;
  for (const StreamWork& item : work) item.stream->begin(item.action, item.samples);
  Engine& engine = work[0].stream->engine();
  for (bool busy = true; busy;) {
    busy = encode_round(engine, work, encodes, owners);
    while (decode_round(engine, work, decodes, owners)) busy = true;
  }
  for (const StreamWork& item : work) item.stream->end(*item.events);
}

}  // namespace voxtral_edge
