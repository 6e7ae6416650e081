// Streams over the tiny model, and over an engine whose tokens the test chooses.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "engine/stream.h"
#include "engine_testing.h"
#include "scripted_engine.h"

namespace voxtral_edge::check {

inline const TinyModel& model() {
  static const TinyModel value = make_model();
  return value;
}

inline StreamOptions options_of(std::size_t delay, std::size_t batch = 0) {
  StreamOptions options;
  options.delay_tokens = delay;
  options.max_batch_tokens = batch;
  return options;
}

// The id of a piece of the tiny vocabulary: bytes first, then the words of tiny_package.cc.
inline std::uint32_t byte_token(unsigned char byte) {
  return static_cast<std::uint32_t>(tiny_config().tokens.special_count) + byte;
}
inline std::uint32_t piece_token(std::size_t index) { return byte_token(0) + 256 + static_cast<std::uint32_t>(index); }

struct Scripted {
  std::shared_ptr<ScriptedEngine> engine;
  Stream stream;
  explicit Scripted(ScriptedEngine::Token token, StreamOptions options = options_of(3),
                    std::vector<double> costs = {1.0})
      : engine(std::make_shared<ScriptedEngine>(model().engine->config(), std::move(token), nullptr, std::move(costs))),
        stream(engine, model().tokenizer, options) {}
};

inline std::uint32_t pad() { return model().engine->config().tokens.streaming_pad; }
inline std::uint32_t mark() { return model().engine->config().tokens.streaming_word; }
inline std::uint32_t eos() { return model().engine->config().tokens.eos; }

inline std::size_t count_of(const Events& events, EventType type) {
  return static_cast<std::size_t>(
      std::count_if(events.begin(), events.end(), [&](const Event& e) { return e.type == type; }));
}

}  // namespace voxtral_edge::check
