#include "text/utf8_stream.h"

#include "base/utf8.h"

namespace voxtral_edge {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace

std::string Utf8Stream::push(std::string_view bytes) {
  pending_ += bytes;
  std::string out;
  std::size_t at = 0;
  while (at < pending_.size()) {
    const std::string_view rest = std::string_view(pending_).substr(at);
    const Utf8Character next = utf8_front(rest);
    if (next.kind == Utf8Character::Kind::incomplete) break;
    out += next.kind == Utf8Character::Kind::complete ? rest.substr(0, next.length) : kReplacement;
    at += next.length;
  }
  pending_.erase(0, at);
  return out;
}

std::string Utf8Stream::finish() {
  const bool incomplete = !pending_.empty();
  pending_.clear();
  return incomplete ? std::string(kReplacement) : std::string();
}

}  // namespace voxtral_edge
