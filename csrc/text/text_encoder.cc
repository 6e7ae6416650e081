#include "text/text_encoder.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "base/error.h"
#include "base/utf8.h"

namespace voxtral_edge {

namespace {

const std::string& pattern_of(const Tekken& tokenizer) {
  if (tokenizer.pattern().empty()) {
    throw Error(ErrorCode::model_format,
                "tekken.json: config.pattern is missing; take tekken.json from the checkpoint");
  }
  return tokenizer.pattern();
}

}  // namespace

TextEncoder::Lookup::Lookup(const Tekken& tokenizer) : pattern(pattern_of(tokenizer)) {
  by_bytes.resize(tokenizer.vocab_size() - tokenizer.special_count());
  std::iota(by_bytes.begin(), by_bytes.end(), static_cast<std::uint32_t>(tokenizer.special_count()));
  const auto bytes = [&](std::uint32_t id) { return tokenizer.bytes(id); };
  std::sort(by_bytes.begin(), by_bytes.end(), [&](std::uint32_t a, std::uint32_t b) { return bytes(a) < bytes(b); });
  const auto same = std::adjacent_find(by_bytes.begin(), by_bytes.end(),
                                       [&](std::uint32_t a, std::uint32_t b) { return bytes(a) == bytes(b); });
  if (same != by_bytes.end()) {
    throw Error(ErrorCode::model_format, "tekken.json: tokens " + std::to_string(same[0]) + " and " +
                                             std::to_string(same[1]) +
                                             " are the same piece; take tekken.json from the checkpoint");
  }
  for (int value = 0; value < 256; ++value) {
    const char byte = static_cast<char>(static_cast<std::uint8_t>(value));
    if (find(tokenizer, {&byte, 1})) continue;
    throw Error(ErrorCode::model_format, "tekken.json: lacks a piece for the byte " + std::to_string(value) +
                                             "; take tekken.json from the checkpoint");
  }
}

std::optional<std::uint32_t> TextEncoder::Lookup::find(const Tekken& tokenizer, std::string_view bytes) const {
  const auto found = std::lower_bound(by_bytes.begin(), by_bytes.end(), bytes,
                                      [&](std::uint32_t id, std::string_view b) { return tokenizer.bytes(id) < b; });
  if (found == by_bytes.end() || tokenizer.bytes(*found) != bytes) return std::nullopt;
  return *found;
}

const TextEncoder::Lookup& TextEncoder::lookup() const {
  std::call_once(once_, [&] { lookup_.emplace(*tokenizer_); });
  return *lookup_;
}

std::vector<std::uint32_t> TextEncoder::encode(std::string_view text) const {
  if (const std::size_t valid = utf8_valid_prefix(text); valid != text.size()) {
    throw Error(ErrorCode::usage, "text is not UTF-8 at byte " + std::to_string(valid) + "; convert it first");
  }
  const Lookup& tables = lookup();
  const std::u32string characters = code_points(text);
  std::vector<std::uint32_t> ids;
  for (const auto& [begin, end] : tables.pattern.pieces(characters)) {
    merge(tables, utf8(std::u32string_view(characters).substr(begin, end - begin)), ids);
  }
  return ids;
}

void TextEncoder::merge(const Lookup& tables, std::string_view word, std::vector<std::uint32_t>& ids) const {
  if (const auto whole = tables.find(*tokenizer_, word)) {
    ids.push_back(*whole);
    return;
  }
  if (word.size() > kMostWordBytes) {
    throw Error(ErrorCode::usage, "text holds a run of " + std::to_string(word.size()) + " bytes without a break; " +
                                      std::to_string(kMostWordBytes) + " are the limit");
  }
  std::vector<std::size_t> bounds(word.size() + 1);  // part i is word[bounds[i] .. bounds[i + 1])
  std::iota(bounds.begin(), bounds.end(), std::size_t{0});
  constexpr std::uint32_t kNone = 0xFFFFFFFF;
  // The id of parts i and i + 1 together; a lower id is a lower rank.
  const auto pair_at = [&](std::size_t i) {
    if (i + 2 >= bounds.size()) return kNone;
    return tables.find(*tokenizer_, word.substr(bounds[i], bounds[i + 2] - bounds[i])).value_or(kNone);
  };
  std::vector<std::uint32_t> pairs(word.size());
  for (std::size_t i = 0; i < pairs.size(); ++i) pairs[i] = pair_at(i);
  for (;;) {
    const auto best = std::min_element(pairs.begin(), pairs.end());
    if (*best == kNone) break;
    const auto at = static_cast<std::size_t>(best - pairs.begin());
    bounds.erase(bounds.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    pairs.erase(best);
    pairs[at] = pair_at(at);
    if (at > 0) pairs[at - 1] = pair_at(at - 1);
  }
  for (std::size_t i = 0; i + 1 < bounds.size(); ++i) {
    ids.push_back(*tables.find(*tokenizer_, word.substr(bounds[i], bounds[i + 1] - bounds[i])));
  }
}

}  // namespace voxtral_edge
