// Bytes in, whole UTF-8 characters out: half a character never leaves (spec 7: pads may sit inside a character).
#pragma once

#include <string>
#include <string_view>

namespace voxtral_edge {

class Utf8Stream {
 public:
  // Appends bytes; returns the text that is now complete. Invalid sequences become U+FFFD (one per maximal
  // subpart, as the Unicode standard recommends); an incomplete but still valid tail is kept back (at most 3 bytes).
  std::string push(std::string_view bytes);
  // End of stream: an incomplete tail becomes U+FFFD.
  std::string finish();
  // True while the beginning of a character waits for the rest.
  bool inside_character() const { return !pending_.empty(); }
  void reset() { pending_.clear(); }

 private:
  std::string pending_;
};

}  // namespace voxtral_edge
