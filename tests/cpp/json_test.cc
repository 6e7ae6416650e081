// The JSON reader: what it accepts, what it refuses and what it says about it.
#include "package/json.h"

#include <string>
#include <vector>

#include "check.h"
#include "error_text.h"

using namespace voxtral_edge;
using check::error_text;

namespace {

JsonDocument parse(const std::string& text, const JsonLimits& limits = {}) {
  return JsonDocument::parse(text, "file.json", "mend it", limits);
}

std::string refusal(const std::string& text, const JsonLimits& limits = {}) {
  const std::string message = error_text([&] { parse(text, limits); });
  CHECK_EQ(message.substr(0, 11), "file.json: ");
  CHECK_CONTAINS(message, "; mend it");
  return message;
}

std::string string_value(const std::string& literal) {
  const JsonDocument document = parse("[" + literal + "]");
  return std::string((*document.root().elements().begin()).as_string());
}

}  // namespace

TEST("reads every type") {
  const JsonDocument document = parse(
      " {\"a\": 1, \"b\": [true, false, null], \"c\": {\"d\": -2.5e-3}, \"e\": \"text\", \"f\": [], \"g\": {} }\r\n");
  const JsonValue root = document.root();
  CHECK(root.type() == JsonType::object);
  CHECK_EQ(root.size(), 6u);
  CHECK_EQ(root.at("a").as_integer(0, 10), 1);
  std::vector<JsonType> types;
  for (const JsonValue value : root.at("b").elements()) types.push_back(value.type());
  CHECK(types == std::vector<JsonType>{JsonType::boolean, JsonType::boolean, JsonType::null});
  CHECK_EQ((*root.at("b").elements().begin()).as_boolean(), true);
  CHECK_EQ(root.at("c").at("d").as_number(-1, 1), -0.0025);
  CHECK_EQ(root.at("e").as_string(), "text");
  CHECK_EQ(root.at("f").size(), 0u);
  CHECK_EQ(root.at("g").size(), 0u);
  CHECK(!root.find("absent").has_value());
  std::string keys;
  for (const auto [key, value] : root.members()) keys += key;
  CHECK_EQ(keys, "abcefg");
  CHECK_EQ(parse("3").root().as_integer(3, 3), 3);
}

TEST("integers are exact to 64 bits and refused beyond") {
  CHECK_EQ(parse("9223372036854775807").root().as_integer(0, INT64_MAX), INT64_MAX);
  CHECK_EQ(parse("-9223372036854775808").root().as_integer(INT64_MIN, 0), INT64_MIN);
  CHECK_EQ(parse("9007199254740993").root().as_integer(0, INT64_MAX), 9007199254740993);
  CHECK_CONTAINS(refusal("9223372036854775808"), "an integer beyond 64 bits");
  CHECK_CONTAINS(refusal("-9223372036854775809"), "an integer beyond 64 bits");
  CHECK_CONTAINS(refusal(std::string(400, '9')), "an integer beyond 64 bits");
  CHECK_CONTAINS(refusal("[1e999]"), "a number that a double cannot hold");
  CHECK_CONTAINS(refusal("1e-999"), "a number that a double cannot hold");
}

TEST("numbers follow the grammar") {
  CHECK_EQ(parse("0").root().as_integer(0, 0), 0);
  CHECK_EQ(parse("-0").root().as_integer(0, 0), 0);
  CHECK_EQ(parse("1E+2").root().as_number(0, 1000), 100.0);
  CHECK_EQ(parse("1000000.0").root().as_number(0, 1e7), 1e6);
  CHECK_EQ(parse("7").root().as_number(0, 10), 7.0);
  for (const char* text : {"01", "-", "+1", "1.", ".5", "1e", "1e+", "0x10", "--1", "NaN", "Infinity", "-Infinity",
                           "nan", "1a", "1 2", "1.e5", "-01", "١"}) {
    refusal(text);
  }
  CHECK_CONTAINS(refusal("01"), "a number with a leading zero");
  CHECK_CONTAINS(refusal("-007"), "a number with a leading zero");
}

TEST("strings: escapes, surrogate pairs, control characters") {
  CHECK_EQ(string_value(R"("a\"\\\/\b\f\n\r\tz")"), "a\"\\/\b\f\n\r\tz");
  CHECK_EQ(string_value(R"("\u0041\u00e9\u6f22\ud83d\ude00")"), "Aé漢😀");
  CHECK_EQ(string_value(R"("x\u0000y")"), std::string("x\0y", 3));
  CHECK_EQ(string_value("\"漢字 é 😀\""), "漢字 é 😀");
  CHECK_EQ(string_value("\"\""), "");
  CHECK_EQ(string_value("\"\\uDBFF\\uDFFF\""), "\xF4\x8F\xBF\xBF");
  CHECK_CONTAINS(refusal(R"("\ud83d")"), "half a surrogate pair");
  CHECK_CONTAINS(refusal(R"("\ud83dx")"), "half a surrogate pair");
  CHECK_CONTAINS(refusal(R"("\ud83d\u0041")"), "half a surrogate pair");
  CHECK_CONTAINS(refusal(R"("\ud83d\ue000")"), "half a surrogate pair");
  CHECK_CONTAINS(refusal(R"("\ude00")"), "second half of a surrogate pair");
  CHECK_CONTAINS(refusal(R"("\u12g4")"), "four hexadecimal digits");
  CHECK_CONTAINS(refusal(R"("\u12)"), "four hexadecimal digits");
  CHECK_CONTAINS(refusal(R"("\x41")"), "an unknown escape");
  CHECK_CONTAINS(refusal("\"a\nb\""), "a control character inside a string");
  CHECK_CONTAINS(refusal("\"\\t\nb\""), "a control character inside a string");
  CHECK_CONTAINS(refusal("\"abc"), "a string without an end");
  CHECK_CONTAINS(refusal("\"abc\\"), "a string without an end");
  CHECK_CONTAINS(refusal("\"\\n"), "a string without an end");
}

TEST("strings with and without escapes stay valid when the document moves") {
  JsonDocument first = parse(R"(["short", "es\u0063aped", "another \n one", "plain"])");
  const JsonDocument second = std::move(first);
  std::string all;
  for (const JsonValue value : second.root().elements()) all += std::string(value.as_string()) + "|";
  CHECK_EQ(all, "short|escaped|another \n one|plain|");
}

TEST("bytes that are not UTF-8 are refused where they stand") {
  const std::vector<std::string> invalid = {"\xFF", "\xC0\x80",         "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82",
                                            "\x80", "\xF5\x80\x80\x80", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF"};
  for (const std::string& bytes : invalid) {
    CHECK_CONTAINS(refusal("[1,\n\"ab" + bytes + "\"]"), "line 2, byte 7: not valid UTF-8");
  }
  CHECK_CONTAINS(refusal("\xEF\xBB\xBF{}"), "line 1, byte 0");  // a byte order mark is not JSON
}

TEST("structure errors name line and byte") {
  CHECK_CONTAINS(refusal(""), "line 1, byte 0: the text ends where a value was expected");
  CHECK_CONTAINS(refusal("{\n\"a\": }"), "line 2, byte 7: expected a value");
  CHECK_CONTAINS(refusal("[1,]"), "byte 3");
  CHECK_CONTAINS(refusal("{\"a\":1,}"), "expected a key in double quotes");
  CHECK_CONTAINS(refusal("{a:1}"), "expected a key in double quotes");
  CHECK_CONTAINS(refusal("{1:1}"), "expected a key in double quotes");
  CHECK_CONTAINS(refusal("{\"a\" 1}"), "expected ':' behind a key");
  CHECK_CONTAINS(refusal("[1 2]"), "expected ',' or ']'");
  CHECK_CONTAINS(refusal("{\"a\":1 \"b\":2}"), "expected ',' or '}'");
  CHECK_CONTAINS(refusal("[1}"), "expected ',' or ']'");
  CHECK_CONTAINS(refusal("{} {}"), "unexpected text behind the end");
  CHECK_CONTAINS(refusal("[1] // no"), "unexpected text behind the end");
  CHECK_CONTAINS(refusal(std::string("{}\0", 3)), "unexpected text behind the end");
  for (const char* text :
       {"tru", "nul", "falsE", "[", "{", "[[]", "{\"a\"", "{\"a\":", "[1,", "]", "}", ",", "'a'", "undefined"}) {
    refusal(text);
  }
}

TEST("duplicate keys are refused, also when escapes hide them") {
  CHECK_CONTAINS(refusal(R"({"a": {"key": 1, "other": 2, "key": 3}})"), "the key \"key\" appears twice in one object");
  CHECK_CONTAINS(refusal(R"({"key": 1, "k\u0065y": 2})"), "appears twice");
  CHECK_CONTAINS(refusal(R"({"": 1, "": 2})"), "appears twice");
  parse(R"({"a": {"k": 1}, "b": {"k": 1}, "k": [{"k": 1}, {"k": 1}]})");
}

TEST("depth, node and size limits") {
  JsonLimits limits;
  limits.depth = 4;
  parse("[[[[1]]]]", limits);
  CHECK_CONTAINS(refusal("[[[[[1]]]]]", limits), "nested deeper than 4 levels");
  CHECK_CONTAINS(refusal("{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}", limits), "nested deeper than 4 levels");
  refusal(std::string(10'000'000, '['));  // the default limit: no stack overflow
  refusal("[" + std::string(9'999'999, '{'));
  limits.nodes = 5;
  parse("[1,2,3,4]", limits);
  CHECK_CONTAINS(refusal("[1,2,3,4,5]", limits), "more than 5 values");
  CHECK_CONTAINS(refusal("{\"a\":1,\"b\":2,\"c\":3}", limits), "more than 5 values");
  limits.bytes = 8;
  parse("[1,2,3] ", limits);
  CHECK_CONTAINS(refusal("[1,2,3]  ", limits), "9 bytes are more than the 8 allowed");
}

TEST("typed access names path, expectation and what was found") {
  const JsonDocument document = parse(
      R"({"config": {"encoder": {"layers": "x", "width": 0, "theta": 1e40}}, "list": [[1], {"odd key.\n": null}], "n": 1.5})");
  const JsonValue root = document.root(), encoder = root.at("config").at("encoder");
  CHECK_EQ(error_text([&] { encoder.at("layers").as_integer(1, 1024); }),
           "file.json: config.encoder.layers: expected an integer between 1 and 1024, found \"x\"; mend it");
  CHECK_CONTAINS(error_text([&] { encoder.at("width").as_integer(1, 10); }),
                 "config.encoder.width: expected an integer between 1 and 10, found 0");
  CHECK_CONTAINS(error_text([&] { encoder.at("width").as_integer(7, 7); }), "expected 7, found 0");
  CHECK_CONTAINS(error_text([&] { encoder.at("theta").as_number(0, 1e15); }),
                 "expected a number between 0 and 1e+15, found 1e+40");
  CHECK_CONTAINS(error_text([&] { encoder.at("layers").as_number(0, 1); }), "found \"x\"");
  CHECK_CONTAINS(error_text([&] { root.at("n").as_integer(0, 10); }),
                 "n: expected an integer between 0 and 10, found 1.5");
  const JsonDocument flags = parse("[true, false]");
  CHECK_CONTAINS(error_text([&] { (*flags.root().elements().begin()).as_string(); }),
                 "[0]: expected a string, found true");
  CHECK_CONTAINS(error_text([&] { encoder.at("depth"); }), "file.json: config.encoder: missing \"depth\"");
  CHECK_CONTAINS(error_text([&] { root.at("absent"); }), "file.json: missing \"absent\"");
  CHECK_CONTAINS(error_text([&] { root.at("list").as_string(); }), "list: expected a string, found an array of 2");
  CHECK_CONTAINS(error_text([&] { root.at("config").as_boolean(); }), "expected true or false, found an object of 1");
  CHECK_CONTAINS(error_text([&] { root.at("n").elements(); }), "expected an array, found 1.5");
  CHECK_CONTAINS(error_text([&] { root.at("n").size(); }), "expected an array or an object, found 1.5");
  CHECK_CONTAINS(error_text([&] { root.at("list").find("x"); }), "list: expected an object");
  auto element = root.at("list").elements().begin();
  CHECK_EQ((*(*element).elements().begin()).path(), "list[0][0]");
  ++element;
  CHECK_EQ((*element).at("odd key.\n").path(), "list[1].\"odd key.\\u000a\"");
  CHECK_EQ(root.path(), "");
}

TEST("messages quote hostile text safely") {
  CHECK_EQ(json_quoted("a\x01\x7F b"), "\"a\\u0001\\u007f b\"");
  CHECK_EQ(json_quoted(std::string(1000, 'x')), "\"" + std::string(40, 'x') + "…\"");
  CHECK_EQ(json_quoted(std::string(39, 'x') + "漢字"), "\"" + std::string(39, 'x') + "漢…\"");
  const JsonDocument document = parse("{\"" + std::string(100'000, 'k') + "\": \"" + std::string(100'000, 'v') + "\"}");
  const std::string message = error_text([&] { (*document.root().members().begin()).value.as_boolean(); });
  CHECK(message.size() < 300);
}

TEST("every prefix of a document is refused without a crash") {
  const std::string text = R"({"a": [1, -2.5e3, "x\u00e9\n", true, null], "b": {"c": "漢"}})";
  parse(text);
  for (std::size_t size = 0; size < text.size(); ++size) refusal(text.substr(0, size));
}

TEST("a number as long as the file and many keys are no trap") {
  refusal("[" + std::string(1'000'000, '1'));
  parse("[0." + std::string(1'000'000, '1') + "]");
  std::string keys = "{";
  for (int i = 0; i < 200'000; ++i) keys += (i == 0 ? "\"k" : ",\"k") + std::to_string(i) + "\":" + std::to_string(i);
  const JsonDocument document = parse(keys + "}");
  CHECK_EQ(document.root().at("k199999").as_integer(0, INT64_MAX), 199'999);
  CHECK_CONTAINS(refusal(keys + ",\"k7\":0}"), "the key \"k7\" appears twice");
}

CHECK_MAIN()
