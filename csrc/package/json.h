// A bounded, strict JSON reader for files that nobody vouches for: manifests and tokenizers.
//
// The whole text is parsed into one flat array of nodes in document order (24 bytes each; strings without escapes stay
// views into the text). A JsonValue is a cheap handle into a JsonDocument, which must outlive it. Every error is an
// Error(model_format) that names the file and, for values, the path: "manifest.json: config.encoder.layers: expected
// an integer between 1 and 1024, found "x"".
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace voxtral_edge {

struct JsonLimits {
  std::size_t bytes = std::size_t{64} << 20;
  std::size_t nodes = 2'000'000;  // values and keys: bounds the memory to 24 bytes each, whatever the text says
  unsigned depth = 32;            // nested arrays and objects
};

enum class JsonType : std::uint8_t { null, boolean, integer, number, string, array, object };

struct JsonNode {
  JsonType type;
  std::uint32_t length;  // string: bytes; array, object: members
  std::uint32_t next;    // index of the node behind this one and all its children
  union {
    bool boolean;
    std::int64_t integer;
    double number;
    const char* text;
  };
};

// For messages: `text` in double quotes, control characters escaped, shortened to 40 bytes.
std::string json_quoted(std::string_view text);

class JsonDocument;

class JsonValue {
 public:
  JsonType type() const;
  bool is_null() const { return type() == JsonType::null; }

  // Typed access; anything else is an error that names the path, what was expected and what was found.
  bool as_boolean() const;
  std::string_view as_string() const;
  std::int64_t as_integer(std::int64_t minimum, std::int64_t maximum) const;  // both bounds included
  double as_number(double minimum, double maximum) const;                     // an integer will do, too
  std::size_t size() const;                                                   // of an array or an object

  // Members of an object. `at` insists, `find` does not.
  JsonValue at(std::string_view key) const;
  std::optional<JsonValue> find(std::string_view key) const;

  struct Member;
  // Children in document order: for (JsonValue v : value.elements()), for (auto [key, v] : value.members()).
  class Elements;
  class Members;
  Elements elements() const;
  Members members() const;

  // "config.encoder.layers", "vocab[7].rank"; empty for the root.
  std::string path() const;
  // Throws Error(model_format): "<file>: <path>: <message>; <advice>".
  [[noreturn]] void fail(const std::string& message) const;
  // fail("expected <expected>, found <this value, shortened>").
  [[noreturn]] void fail_expected(const std::string& expected) const;

 private:
  friend class JsonDocument;
  JsonValue(const JsonDocument* document, std::uint32_t index) : document_(document), index_(index) {}
  const JsonNode& node() const;
  void expect(JsonType type, const char* expected) const;
  std::string describe() const;

  const JsonDocument* document_;
  std::uint32_t index_;
};

class JsonDocument {
 public:
  // `source` is the name used in messages, `advice` ("export the package again") what every message ends with.
  // Error(model_format) for text over the limits, bytes that are not UTF-8, anything outside RFC 8259 (comments,
  // trailing commas, NaN), duplicate keys, integers beyond 64 bits.
  static JsonDocument parse(std::string text, std::string source, std::string advice, const JsonLimits& limits = {});
  JsonDocument(JsonDocument&&) noexcept;
  JsonDocument& operator=(JsonDocument&&) noexcept;
  ~JsonDocument();

  JsonValue root() const { return JsonValue(this, 0); }
  const std::string& source() const { return source_; }

 private:
  friend class JsonValue;
  friend class JsonParser;
  JsonDocument();

  [[noreturn]] void fail(const std::string& message) const;

  std::string source_, advice_;
  std::unique_ptr<const std::string> text_;  // behind a pointer: views into it survive a move
  std::unique_ptr<std::string> unescaped_;   // decoded strings that had escapes; never grows beyond its capacity
  std::vector<JsonNode> nodes_;
};

struct JsonValue::Member {
  std::string_view key;
  JsonValue value;
};

class JsonValue::Elements {
 public:
  class Iterator {
   public:
    JsonValue operator*() const { return JsonValue(document_, index_); }
    Iterator& operator++();
    bool operator!=(const Iterator& other) const { return index_ != other.index_; }

   private:
    friend class Elements;
    Iterator(const JsonDocument* document, std::uint32_t index) : document_(document), index_(index) {}
    const JsonDocument* document_;
    std::uint32_t index_;
  };
  Iterator begin() const { return {document_, begin_}; }
  Iterator end() const { return {document_, end_}; }

 private:
  friend class JsonValue;
  Elements(const JsonDocument* document, std::uint32_t begin, std::uint32_t end)
      : document_(document), begin_(begin), end_(end) {}
  const JsonDocument* document_;
  std::uint32_t begin_, end_;
};

class JsonValue::Members {
 public:
  class Iterator {
   public:
    Member operator*() const;
    Iterator& operator++();
    bool operator!=(const Iterator& other) const { return index_ != other.index_; }

   private:
    friend class Members;
    Iterator(const JsonDocument* document, std::uint32_t index) : document_(document), index_(index) {}
    const JsonDocument* document_;
    std::uint32_t index_;  // of the key
  };
  Iterator begin() const { return {document_, begin_}; }
  Iterator end() const { return {document_, end_}; }

 private:
  friend class JsonValue;
  Members(const JsonDocument* document, std::uint32_t begin, std::uint32_t end)
      : document_(document), begin_(begin), end_(end) {}
  const JsonDocument* document_;
  std::uint32_t begin_, end_;
};

}  // namespace voxtral_edge
