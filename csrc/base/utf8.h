// One UTF-8 character at a time, by table 3-7 of the Unicode standard (no overlong forms, surrogates or > U+10FFFF).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace voxtral_edge {

struct Utf8Character {
  enum class Kind {
    complete,    // `length` bytes form `code_point`
    incomplete,  // all of the `length` remaining bytes are the beginning of a valid character
    invalid,     // the first `length` bytes are a maximal ill-formed subpart (one U+FFFD replaces them)
  };
  Kind kind;
  std::size_t length;
  char32_t code_point;
};

// Looks at the beginning of `bytes`, which must not be empty.
inline Utf8Character utf8_front(std::string_view bytes) {
  using Kind = Utf8Character::Kind;
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return {Kind::complete, 1, lead};
  if (lead < 0xC2 || lead > 0xF4) return {Kind::invalid, 1, 0};
  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // Only the second byte's range depends on the first: this is what excludes overlong forms and surrogates.
  std::uint8_t low = 0x80, high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  char32_t code_point = lead & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {Kind::incomplete, i, 0};
    if (byte(i) < low || byte(i) > high) return {Kind::invalid, i, 0};
    code_point = (code_point << 6) | (byte(i) & 0x3Fu);
    low = 0x80, high = 0xBF;
  }
  return {Kind::complete, length, code_point};
}

// Appends a code point that is a Unicode scalar value.
inline void utf8_append(std::string& out, char32_t code_point) {
  const auto put = [&](char32_t value) { out.push_back(static_cast<char>(static_cast<std::uint8_t>(value))); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | (code_point >> 6));
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | (code_point >> 12));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | (code_point >> 18));
    put(0x80 | ((code_point >> 12) & 0x3F));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

// Bytes from the start that are whole, valid characters; equals text.size() when all of it is valid.
inline std::size_t utf8_valid_prefix(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    if (static_cast<std::uint8_t>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const Utf8Character next = utf8_front(text.substr(at, 4));
    if (next.kind != Utf8Character::Kind::complete) break;
    at += next.length;
  }
  return at;
}

}  // namespace voxtral_edge
