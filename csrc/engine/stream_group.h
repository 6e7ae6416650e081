// Several streams of one engine in shared passes over the weights.
#pragma once

#include <span>

#include "engine/stream.h"

namespace voxtral_edge {

struct StreamWork {
  Stream* stream;
  StreamAction action;
  std::span<const float> samples;  // feed only; must stay valid during the call
  Events* events;                  // appended to
};

// Runs every piece of work to its end; streams that have something to encode (or decode) at the same time go through
// one pass together. Each stream's text is the same as when it runs alone. A stream may appear once. All must belong to
// the same engine. Error(usage) before anything runs if a piece is not allowed.
void run_streams(std::span<const StreamWork> work);

}  // namespace voxtral_edge
