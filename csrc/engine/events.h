// What a stream reports. Values only: an event owns its text and outlives the call that made it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace voxtral_edge {

enum class EventType {
  text,     // new text, to be appended; never taken back
  word,     // a word is complete, with its times
  segment,  // the model marked an end (EOS); the stream goes on
  final,    // the stream is finished; text = everything that is still held
};

struct Event {
  EventType type;
  std::string text;
  double start_s = 0.0, end_s = 0.0;  // word: times in the audio that was fed; segment: both the time of the mark
  float probability = 0.0f;           // word
  std::uint64_t token_index = 0;      // generated token (80 ms each) that caused the event
};

using Events = std::vector<Event>;

}  // namespace voxtral_edge
