// What stands behind the opaque handles.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>

#include "c_api/voxtral_edge.h"
#include "engine/native_engine.h"
#include "engine/opened_package.h"
#include "engine/stream.h"

struct ve_engine {
  voxtral_edge::OpenedPackage opened;
  std::shared_ptr<voxtral_edge::NativeEngine> engine;
};

struct ve_stream {
  ve_stream(const ve_engine& engine, const voxtral_edge::StreamOptions& options, bool is_recorded)
      : stream(engine.engine, engine.opened.tokenizer, options), recorded(is_recorded) {}

  voxtral_edge::Stream stream;
  const bool recorded;           // feeds are followed by more at once
  voxtral_edge::Events events;   // of which the first `taken_events` have been taken
  std::size_t taken_events = 0;  //
  ve_event shown{};              // what ve_stream_next_event gave last
  std::atomic_flag acting;       // a thread is in an action: others are refused,
  mutable std::mutex mutex;      // and readers wait
};
