// Several streams of one engine in shared passes over the weights.
#pragma once

#include <cstddef>
#include <limits>
#include <span>

#include "engine/stream.h"

namespace voxtral_edge {

struct StreamWork {
  Stream* stream;
  StreamAction action;
  std::span<const float> samples;  // feed only; must stay valid during the call
  Events* events;                  // appended to
};

// How much one call may do. A round is at most one encode pass and at most one decode pass, each shared by all streams
// that have something for it.
struct RunBounds {
  std::size_t rounds = std::numeric_limits<std::size_t>::max();
  std::size_t tokens = std::numeric_limits<std::size_t>::max();  // of one stream in one pass
};

// Runs every piece of work to its end, or until the bounds are met: Stream::busy() then tells whose is unfinished, and
// `resume` in a later call goes on with it; nothing else is possible with such a stream but reset(). Streams that have
// something to encode (or decode) at the same time go through one pass together. Each stream's text is the same as when
// it runs alone, and whatever the bounds. A stream may appear once. All must belong to the same engine. Error(usage)
// before anything runs if a piece is not allowed or a bound is 0; after any other error all streams of the call have
// failed (Stream::failed). An engine may call this from within its own passes, with other streams.
void run_streams(std::span<const StreamWork> work, const RunBounds& bounds = {});

}  // namespace voxtral_edge
