// The tokenizer file: pieces, specials, and every way in which a file can be wrong.
#include "text/tekken.h"

#include <string>
#include <vector>

#include "check.h"
#include "error_text.h"
#include "package/package.h"
#include "temporary_folder.h"
#include "tiny_package.h"

using namespace voxtral_edge;
using check::error_text;
using check::replaced;
using check::TemporaryFolder;
using check::write_file;

namespace {

// Three specials, pieces "A", "\xFF\x00", " the", "é", "long": a vocabulary of 7 leaves the last one unused.
const std::string kSmall = R"({
 "config": {"default_num_special_tokens": 3, "default_vocab_size": 7, "version": "v7"},
 "vocab": [
  {"rank": 0, "token_bytes": "QQ==", "token_str": "A"},
  {"rank": 1, "token_bytes": "/wA=", "token_str": null},
  {"rank": 2, "token_bytes": "IHRoZQ==", "token_str": " the"},
  {"rank": 3, "token_bytes": "w6k=", "token_str": "é"},
  {"rank": 4, "token_bytes": "bG9uZw==", "token_str": "long"}],
 "special_tokens": [
  {"rank": 0, "token_str": "<unk>", "is_control": true},
  {"rank": 2, "token_str": "[STREAMING_PAD]", "is_control": true},
  {"rank": 1, "token_str": "<s>", "is_control": true}]
})";

Tekken load(const std::string& text, std::size_t vocab_size = 7) {
  const TemporaryFolder folder;
  write_file(folder / "tekken.json", text);
  return Tekken::load(folder / "tekken.json", vocab_size);
}

void refused(const std::string& from, const std::string& to, const std::string& part) {
  const std::string message = error_text([&] { load(replaced(kSmall, from, to)); });
  CHECK_CONTAINS(message, part);
  CHECK_CONTAINS(message, "tekken.json");
}

}  // namespace

TEST("ids to bytes and names to ids") {
  const Tekken tekken = load(kSmall);
  CHECK_EQ(tekken.vocab_size(), 7u);
  CHECK_EQ(tekken.special_count(), 3u);
  for (std::uint32_t id = 0; id < 3; ++id) {
    CHECK(tekken.is_special(id));
    CHECK_EQ(tekken.bytes(id), "");
  }
  CHECK(!tekken.is_special(3));
  CHECK_EQ(tekken.bytes(3), "A");
  CHECK(tekken.bytes(4) == std::string_view("\xFF\0", 2));
  CHECK_EQ(tekken.bytes(5), " the");
  CHECK_EQ(tekken.bytes(6), "é");
  CHECK_THROWS_CODE(tekken.bytes(7), ErrorCode::internal);
  CHECK_THROWS_CODE(tekken.bytes(UINT32_MAX), ErrorCode::internal);
  CHECK_EQ(tekken.special("[STREAMING_PAD]"), 2u);
  CHECK_EQ(tekken.special("<s>"), 1u);
  CHECK_CONTAINS(error_text([&] { tekken.special("[STREAMING_WORD]"); }), "there is no \"[STREAMING_WORD]\"");
}

TEST("the tiny package's tokenizer") {
  const TemporaryFolder folder;
  check::write_tiny_package(folder.path());
  const auto package = Package::open(folder.path());
  const Tekken tekken = Tekken::load(package->tokenizer_path(), package->config().tokens.vocab_size);
  CHECK_EQ(tekken.vocab_size(), 320u);
  CHECK_EQ(tekken.special("[STREAMING_PAD]"), package->config().tokens.streaming_pad);
  CHECK_EQ(tekken.special("[STREAMING_WORD]"), package->config().tokens.streaming_word);
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    CHECK(tekken.bytes(40 + byte) == std::string(1, static_cast<char>(byte)));
  }
  CHECK_EQ(tekken.bytes(40 + 256), " the");
  CHECK_EQ(tekken.bytes(319), " w279");
}

TEST("sizes that do not match the model") {
  CHECK_CONTAINS(error_text([] { load(kSmall, 9); }),
                 "vocabulary of 9 tokens does not match 3 special tokens and 5 pieces; take tekken.json from");
  CHECK_CONTAINS(error_text([] { load(kSmall, 3); }), "vocab: the model's vocabulary of 3 tokens does not match");
  CHECK_CONTAINS(error_text([] { load(kSmall, 0); }), "does not match");
  CHECK_EQ(load(kSmall, 8).bytes(7), "long");
  CHECK_EQ(load(kSmall, 4).vocab_size(), 4u);
  refused("\"default_num_special_tokens\": 3", "\"default_num_special_tokens\": 0",
          "config.default_num_special_tokens: expected an integer between 1");
  refused("\"default_num_special_tokens\": 3", "\"default_num_special_tokens\": 1",
          "special_tokens: more entries than config.default_num_special_tokens");
  refused("\"default_num_special_tokens\": 3", "\"default_num_special_tokens\": 65537", "found 65537");
  refused("\"default_num_special_tokens\"", "\"num\"", "config: missing \"default_num_special_tokens\"");
  refused("\"config\"", "\"settings\"", "missing \"config\"");
}

TEST("damaged entries are named") {
  refused("\"rank\": 1, \"token_bytes\"", "\"rank\": 2, \"token_bytes\"", "vocab[1].rank: expected 1, found 2");
  refused("\"rank\": 1, \"token_bytes\"", "\"rank\": \"1\", \"token_bytes\"", "vocab[1].rank: expected 1, found \"1\"");
  refused("\"token_bytes\": \"/wA=\", ", "", "vocab[1]: missing \"token_bytes\"");
  refused("\"/wA=\"", "\"\"", "vocab[1].token_bytes: a piece must have 1 to 65536 bytes");
  refused("\"/wA=\"", "null", "vocab[1].token_bytes: expected a string, found null");
  for (const std::string bad :
       {"/wA", "/wA==", "/w=A", "/wB=", "====", "=", "/w A", "/wA=/wA=", "\\n/wA", "_wA=", "A===", "/wé=", "QR=="}) {
    refused("\"/wA=\"", "\"" + bad + "\"", "vocab[1].token_bytes: expected base64 with padding");
  }
  refused("{\"rank\": 2, \"token_str\"", "{\"rank\": 3, \"token_str\"",
          "special_tokens[1].rank: expected an integer between 0 and 2");
  refused("{\"rank\": 2, \"token_str\"", "{\"rank\": 0, \"token_str\"", "special_tokens[1].rank: rank 0 appears twice");
  refused("\"token_str\": \"<s>\"", "\"token_str\": 5", "special_tokens[2].token_str: expected a string");
  refused("\"vocab\": [", "\"vocab\": 5, \"x\": [", "vocab: expected an array or an object, found 5");
  refused("\"special_tokens\": [", "\"special_tokens\": {}, \"x\": [", "special_tokens: expected an array");
  refused("]\n}", "]\n", "expected ',' or '}'");
  CHECK_CONTAINS(error_text([] { load("[]"); }), "expected an object, found an array of 0");
  CHECK_CONTAINS(error_text([] { load(""); }), "the text ends");
  CHECK_CONTAINS(error_text([] { Tekken::load("/no/such/tekken.json", 7); }), "/no/such/tekken.json: no such file");
}

TEST("pieces have at most 64 KiB") {
  std::string piece;
  for (int i = 0; i < 65536 / 3; ++i) piece += "QUFB";  // 65535 bytes
  CHECK_EQ(load(replaced(kSmall, "/wA=", piece + "QQ==")).bytes(4).size(), 65536u);
  refused("/wA=", piece + "QUE=", "vocab[1].token_bytes: a piece must have 1 to 65536 bytes");
  for (int i = 0; i < 20; ++i) piece += piece.substr(0, 43688);
  refused("/wA=", piece, "vocab[1].token_bytes: a piece must have 1 to 65536 bytes");
}

TEST("a vocabulary of the real size") {
  std::string text = R"({"config": {"default_num_special_tokens": 1000}, "special_tokens": [], "vocab": [)";
  for (int rank = 0; rank < 150'000; ++rank) {
    text += (rank == 0 ? "\n" : ",\n") + std::string("  {\n   \"rank\": ") + std::to_string(rank) +
            ",\n   \"token_bytes\": \"IHdvcmQ=\",\n   \"token_str\": \" w\\u00f6rd\"\n  }";
  }
  text += "]}";
  const Tekken tekken = load(text, 131'072);
  CHECK_EQ(tekken.vocab_size(), 131'072u);
  CHECK_EQ(tekken.bytes(131'071), " word");
  CHECK_THROWS_CODE(tekken.bytes(131'072), ErrorCode::internal);
}

CHECK_MAIN()
