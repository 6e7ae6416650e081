// Text -> flat nodes. Recursive descent, no deeper than JsonLimits::depth.
#include <algorithm>
#include <charconv>
#include <limits>
#include <system_error>
#include <utility>

#include "base/utf8.h"
#include "package/json.h"

namespace voxtral_edge {

class JsonParser {
 public:
  JsonParser(JsonDocument& document, const JsonLimits& limits)
      : document_(document), limits_(limits), text_(*document.text_) {}

  void parse() {
    const std::size_t valid = utf8_valid_prefix(text_);
    if (valid != text_.size()) {
      at_ = valid;
      fail("not valid UTF-8");
    }
    skip_space();
    parse_value(0);
    skip_space();
    if (at_ != text_.size()) fail("unexpected text behind the end of the document");
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    const std::size_t shown = std::min(at_, text_.size());
    const auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(shown), '\n');
    document_.fail("line " + std::to_string(line) + ", byte " + std::to_string(shown) + ": " + message);
  }

  bool next_is(char c) const { return at_ < text_.size() && text_[at_] == c; }

  void skip_space() {
    while (next_is(' ') || next_is('\n') || next_is('\r') || next_is('\t')) ++at_;
  }

  std::size_t add(JsonType type) {
    if (document_.nodes_.size() >= limits_.nodes) {
      fail("more than " + std::to_string(limits_.nodes) + " values");
    }
    JsonNode node{};
    node.type = type;
    node.next = static_cast<std::uint32_t>(document_.nodes_.size() + 1);
    document_.nodes_.push_back(node);
    return document_.nodes_.size() - 1;
  }

  void parse_value(unsigned depth) {
    if (at_ == text_.size()) fail("the text ends where a value was expected");
    switch (text_[at_]) {
      case '{':
        return parse_container(depth, JsonType::object, '}');
      case '[':
        return parse_container(depth, JsonType::array, ']');
      case '"':
        return parse_string();
      case 't':
        expect_word("true");
        document_.nodes_[add(JsonType::boolean)].boolean = true;
        return;
      case 'f':
        expect_word("false");
        document_.nodes_[add(JsonType::boolean)].boolean = false;
        return;
      case 'n':
        expect_word("null");
        add(JsonType::null);
        return;
      default:
        return parse_number();
    }
  }

  void expect_word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) fail("expected a value (NaN and Infinity are not JSON)");
    at_ += word.size();
  }

  void parse_container(unsigned depth, JsonType type, char close) {
    if (depth >= limits_.depth) fail("nested deeper than " + std::to_string(limits_.depth) + " levels");
    const std::size_t self = add(type);
    ++at_;
    std::uint32_t count = 0;
    skip_space();
    if (next_is(close)) {
      ++at_;
    } else {
      for (;;) {
        if (type == JsonType::object) parse_key();
        parse_value(depth + 1);
        ++count;
        skip_space();
        if (next_is(close)) break;
        if (!next_is(',')) fail(std::string("expected ',' or '") + close + "'");
        ++at_;
        skip_space();
      }
      ++at_;
    }
    document_.nodes_[self].length = count;
    document_.nodes_[self].next = static_cast<std::uint32_t>(document_.nodes_.size());
    if (type == JsonType::object) refuse_duplicate_keys(self);
  }

  void parse_key() {
    if (!next_is('"')) fail("expected a key in double quotes");
    parse_string();
    skip_space();
    if (!next_is(':')) fail("expected ':' behind a key");
    ++at_;
    skip_space();
  }

  void refuse_duplicate_keys(std::size_t self) {
    keys_.clear();
    const std::vector<JsonNode>& nodes = document_.nodes_;
    for (std::size_t key = self + 1; key < nodes.size(); key = nodes[key + 1].next) {
      keys_.emplace_back(nodes[key].text, nodes[key].length);
    }
    std::sort(keys_.begin(), keys_.end());
    const auto twin = std::adjacent_find(keys_.begin(), keys_.end());
    if (twin != keys_.end()) fail("the key " + json_quoted(*twin) + " appears twice in one object");
  }

  void parse_string() {
    const std::size_t self = add(JsonType::string);
    const std::size_t begin = ++at_;
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '"') {
        set_text(self, text_.data() + begin, at_ - begin);
        ++at_;
        return;
      }
      if (c == '\\') return parse_escaped_string(self, begin);
      if (static_cast<unsigned char>(c) < 0x20) fail("a control character inside a string");
    }
    fail("a string without an end");
  }

  void set_text(std::size_t self, const char* text, std::size_t length) {
    document_.nodes_[self].text = text;
    document_.nodes_[self].length = static_cast<std::uint32_t>(length);  // fits: the text is limited to 4 GiB
  }

  // Unescaped text is never longer than its source, so one reservation of the text's size keeps all pointers valid.
  void parse_escaped_string(std::size_t self, std::size_t begin) {
    if (!document_.unescaped_) {
      document_.unescaped_ = std::make_unique<std::string>();
      document_.unescaped_->reserve(text_.size() - begin);
    }
    std::string& out = *document_.unescaped_;
    const std::size_t out_begin = out.size();
    out.append(text_.substr(begin, at_ - begin));
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == '"') return set_text(self, out.data() + out_begin, out.size() - out_begin);
      if (static_cast<unsigned char>(c) < 0x20) fail("a control character inside a string");
      if (c == '\\') {
        parse_escape(out);
      } else {
        out.push_back(c);
      }
    }
    fail("a string without an end");
  }

  void parse_escape(std::string& out) {
    if (at_ == text_.size()) fail("a string without an end");
    const char c = text_[at_++];
    switch (c) {
      case '"':
      case '\\':
      case '/':
        out.push_back(c);
        return;
      case 'b':
        out.push_back('\b');
        return;
      case 'f':
        out.push_back('\f');
        return;
      case 'n':
        out.push_back('\n');
        return;
      case 'r':
        out.push_back('\r');
        return;
      case 't':
        out.push_back('\t');
        return;
      case 'u':
        break;
      default:
        --at_;
        fail("an unknown escape");
    }
    char32_t code_point = parse_hex4();
    if (code_point >= 0xDC00 && code_point < 0xE000) fail("the second half of a surrogate pair without the first");
    if (code_point >= 0xD800 && code_point < 0xDC00) {
      if (text_.substr(at_, 2) != "\\u") fail("half a surrogate pair");
      at_ += 2;
      const char32_t low = parse_hex4();
      if (low < 0xDC00 || low >= 0xE000) fail("half a surrogate pair");
      code_point = 0x10000 + ((code_point - 0xD800) << 10) + (low - 0xDC00);
    }
    utf8_append(out, code_point);
  }

  char32_t parse_hex4() {
    char32_t value = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      constexpr std::string_view digits = "0123456789abcdef0123456789ABCDEF";
      const std::size_t digit = at_ < text_.size() ? digits.find(text_[at_]) : std::string_view::npos;
      if (digit == std::string_view::npos) fail("expected four hexadecimal digits behind \\u");
      value = value * 16 + static_cast<char32_t>(digit % 16);
    }
    return value;
  }

  bool next_is_digit() const { return at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; }

  void skip_digits() {
    if (!next_is_digit()) fail("expected a digit");
    while (next_is_digit()) ++at_;
  }

  void parse_number() {
    const std::size_t begin = at_;
    if (next_is('-')) ++at_;
    if (!next_is_digit()) fail("expected a value (NaN and Infinity are not JSON)");
    if (next_is('0')) {
      ++at_;
      if (next_is_digit()) fail("a number with a leading zero");
    } else {
      skip_digits();
    }
    const bool integer = !next_is('.') && !next_is('e') && !next_is('E');
    if (next_is('.')) {
      ++at_;
      skip_digits();
    }
    if (next_is('e') || next_is('E')) {
      ++at_;
      if (next_is('+') || next_is('-')) ++at_;
      skip_digits();
    }
    JsonNode& node = document_.nodes_[add(integer ? JsonType::integer : JsonType::number)];
    const char* first = text_.data() + begin;
    const char* last = text_.data() + at_;
    const std::from_chars_result result =
        integer ? std::from_chars(first, last, node.integer) : std::from_chars(first, last, node.number);
    if (result.ec != std::errc() || result.ptr != last) {
      at_ = begin;
      fail(integer ? "an integer beyond 64 bits" : "a number that a double cannot hold");
    }
  }

  JsonDocument& document_;
  const JsonLimits& limits_;
  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<std::string_view> keys_;  // scratch of refuse_duplicate_keys
};

JsonDocument::JsonDocument() = default;
JsonDocument::JsonDocument(JsonDocument&&) noexcept = default;
JsonDocument& JsonDocument::operator=(JsonDocument&&) noexcept = default;
JsonDocument::~JsonDocument() = default;

JsonDocument JsonDocument::parse(std::string text, std::string source, std::string advice, const JsonLimits& limits) {
  JsonDocument document;
  document.source_ = std::move(source);
  document.advice_ = std::move(advice);
  constexpr std::size_t most = std::numeric_limits<std::uint32_t>::max();  // JsonNode's fields are 32 bits wide
  if (text.size() > std::min(limits.bytes, most)) {
    document.fail(std::to_string(text.size()) + " bytes are more than the " + std::to_string(limits.bytes) +
                  " allowed");
  }
  document.text_ = std::make_unique<const std::string>(std::move(text));
  JsonParser(document, limits).parse();
  return document;
}

}  // namespace voxtral_edge
