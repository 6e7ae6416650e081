// Typed access to a parsed document, with errors that name the place.
#include "package/json.h"

#include <charconv>
#include <cstdio>

#include "base/error.h"
#include "base/utf8.h"

namespace voxtral_edge {

namespace {

constexpr std::size_t kDescribedBytes = 40;  // of a string that is quoted in a message

std::string number_text(double value) {
  char text[32];  // not printf: its decimal point is the locale's
  return {text, std::to_chars(text, text + sizeof(text), value, std::chars_format::general, 9).ptr};
}

}  // namespace

// Cut at a character boundary: messages stay one line of valid UTF-8.
std::string json_quoted(std::string_view text) {
  std::string out = "\"";
  std::size_t at = 0;
  while (at < text.size() && at < kDescribedBytes) {
    const Utf8Character next = utf8_front(text.substr(at, 4));
    if (next.kind != Utf8Character::Kind::complete) break;
    const std::string_view bytes = text.substr(at, next.length);
    at += next.length;
    if (next.code_point >= 0x20 && next.code_point != 0x7F) {
      out += bytes;
    } else {
      char escape[16];
      std::snprintf(escape, sizeof(escape), "\\u%04x", static_cast<unsigned>(next.code_point));
      out += escape;
    }
  }
  return out + (at < text.size() ? "…\"" : "\"");
}

const JsonNode& JsonValue::node() const { return document_->nodes_[index_]; }

JsonType JsonValue::type() const { return node().type; }

std::string JsonValue::describe() const {
  switch (node().type) {
    case JsonType::null:
      return "null";
    case JsonType::boolean:
      return node().boolean ? "true" : "false";
    case JsonType::integer:
      return std::to_string(node().integer);
    case JsonType::number: {
      const std::string text = number_text(node().number);
      return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;  // 32.0 is no integer: show why
    }
    case JsonType::string:
      return json_quoted({node().text, node().length});
    case JsonType::array:
      return "an array of " + std::to_string(node().length);
    case JsonType::object:
      return "an object of " + std::to_string(node().length);
  }
  return "nothing";
}

void JsonDocument::fail(const std::string& message) const {
  throw Error(ErrorCode::model_format, source_ + ": " + message + "; " + advice_);
}

void JsonValue::fail(const std::string& message) const {
  const std::string where = path();
  document_->fail((where.empty() ? "" : where + ": ") + message);
}

void JsonValue::fail_expected(const std::string& expected) const {
  fail("expected " + expected + ", found " + describe());
}

void JsonValue::expect(JsonType type, const char* expected) const {
  if (node().type != type) fail_expected(expected);
}

bool JsonValue::as_boolean() const {
  expect(JsonType::boolean, "true or false");
  return node().boolean;
}

std::string_view JsonValue::as_string() const {
  expect(JsonType::string, "a string");
  return {node().text, node().length};
}

std::int64_t JsonValue::as_integer(std::int64_t minimum, std::int64_t maximum) const {
  if (node().type != JsonType::integer || node().integer < minimum || node().integer > maximum) {
    if (minimum == maximum) fail_expected(std::to_string(minimum));
    fail_expected("an integer between " + std::to_string(minimum) + " and " + std::to_string(maximum));
  }
  return node().integer;
}

double JsonValue::as_number(double minimum, double maximum) const {
  const bool numeric = node().type == JsonType::integer || node().type == JsonType::number;
  const double value = !numeric                           ? 0.0
                       : node().type == JsonType::integer ? static_cast<double>(node().integer)
                                                          : node().number;
  if (!numeric || !(value >= minimum && value <= maximum)) {
    fail_expected("a number between " + number_text(minimum) + " and " + number_text(maximum));
  }
  return value;
}

std::size_t JsonValue::size() const {
  if (type() != JsonType::array) expect(JsonType::object, "an array or an object");
  return node().length;
}

std::optional<JsonValue> JsonValue::find(std::string_view key) const {
  for (const auto [name, value] : members()) {
    if (name == key) return value;
  }
  return std::nullopt;
}

JsonValue JsonValue::at(std::string_view key) const {
  const std::optional<JsonValue> value = find(key);
  if (!value) fail("missing " + json_quoted(key));
  return *value;
}

JsonValue::Elements JsonValue::elements() const {
  expect(JsonType::array, "an array");
  return Elements(document_, index_ + 1, node().next);
}

JsonValue::Members JsonValue::members() const {
  expect(JsonType::object, "an object");
  return Members(document_, index_ + 1, node().next);
}

JsonValue::Elements::Iterator& JsonValue::Elements::Iterator::operator++() {
  index_ = JsonValue(document_, index_).node().next;
  return *this;
}

JsonValue::Member JsonValue::Members::Iterator::operator*() const {
  return {JsonValue(document_, index_).as_string(), JsonValue(document_, index_ + 1)};
}

JsonValue::Members::Iterator& JsonValue::Members::Iterator::operator++() {
  index_ = JsonValue(document_, index_ + 1).node().next;
  return *this;
}

// Found by descending from the root into the child whose nodes enclose ours: costs nothing until there is an error.
std::string JsonValue::path() const {
  std::string out;
  JsonValue at = document_->root();
  while (at.index_ != index_) {
    const bool object = at.type() == JsonType::object;
    std::uint32_t child = at.index_ + 1;
    for (std::size_t position = 0;; ++position) {
      const std::uint32_t value = object ? child + 1 : child;
      const std::uint32_t next = document_->nodes_[value].next;
      if (index_ >= next) {
        child = next;
        continue;
      }
      if (object) {
        const std::string_view key = JsonValue(document_, child).as_string();
        const std::string name = json_quoted(key);
        const bool plain = name.size() == key.size() + 2;  // neither shortened nor escaped
        out += (out.empty() ? "" : ".") + (plain ? std::string(key) : name);
      } else {
        out.append("[").append(std::to_string(position)).append("]");
      }
      at = JsonValue(document_, value);
      break;
    }
  }
  return out;
}

}  // namespace voxtral_edge
