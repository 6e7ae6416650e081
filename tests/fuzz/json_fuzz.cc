// Any bytes: parsed or refused; every value of a parsed document can be reached, shown and described.
#include <algorithm>

#include "base/utf8.h"
#include "fuzz_target.h"
#include "package/json.h"

using namespace voxtral_edge;

namespace {

// Visits all values; returns how many nodes (values and keys) there are.
std::size_t walk(const JsonValue& value, unsigned depth) {
  fuzz::require(depth <= JsonLimits{}.depth, "no deeper than the limit");
  std::size_t nodes = 1;
  switch (value.type()) {
    case JsonType::string:
      fuzz::require(utf8_valid_prefix(value.as_string()) == value.as_string().size(), "strings are UTF-8");
      break;
    case JsonType::integer:
      value.as_integer(INT64_MIN, INT64_MAX);
      break;
    case JsonType::number:
      fuzz::require(value.as_number(-1e308, 1e308) < 1.1e308, "numbers are finite");
      break;
    case JsonType::array:
      for (const JsonValue element : value.elements()) nodes += walk(element, depth + 1);
      break;
    case JsonType::object:
      for (const auto [key, member] : value.members()) nodes += 1 + walk(member, depth + 1);
      break;
    default:
      break;
  }
  return nodes;
}

void describe(const JsonValue& value) {
  try {
    value.fail_expected("something else");
  } catch (const Error& error) {
    const std::string text = error.what();
    fuzz::require(utf8_valid_prefix(text) == text.size(), "messages are UTF-8");
    fuzz::require(std::none_of(text.begin(), text.end(), [](char c) { return c == '\n' || c == '\0'; }), "one line");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::expect_model_format_error([&] {
    const JsonDocument document =
        JsonDocument::parse({reinterpret_cast<const char*>(data), size}, "fuzz.json", "advice");
    fuzz::require(walk(document.root(), 0) <= size, "no more nodes than bytes");
    describe(document.root());
    if (document.root().type() == JsonType::object) {
      for (const auto [key, value] : document.root().members()) {
        describe(value);
        fuzz::require(document.root().find(key)->path() == value.path(), "a key finds its value");
      }
    }
  });
  return 0;
}

std::vector<std::string> fuzz::seeds() {
  return {R"({"a": [1, -2.5e3, "x\u00e9\n", true, null], "b": {"c": "漢😀", "d": {}}, "e": [[], [[0]]]})",
          R"([0, -0, 9223372036854775807, 0.1, 1E+2, 1e-7, "\ud83d\ude00\"\\\/\b\f\n\r\t", false])", "\"text\"", " 12 ",
          "[]"};
}

std::vector<std::string> fuzz::dictionary() { return json_dictionary(); }
