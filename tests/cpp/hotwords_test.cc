// Phrases: what is accepted, how they are spelled, and what their tokens earn. Unicode and the tokenizer against other
// programs: tests/python/test_hotwords.py and test_tokenizer.py.
#include "engine/hotwords.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "error_text.h"
#include "temporary_folder.h"
#include "text/text_encoder.h"
#include "tiny_package.h"

using namespace voxtral_edge;

namespace {

// All bytes and some words: ids 4 + byte, then from 260 on.
std::shared_ptr<const TextEncoder> encoder() {
  const std::vector<std::string> words = {" K", "ub", " Kub", "er", "ern", "et", "es", "etes", " nine"};
  static const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string json = R"({"config": {"default_num_special_tokens": 4, "default_vocab_size": 269,
    "pattern": " ?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+|\\s+"}, "special_tokens": [], "vocab": [)";
  for (std::size_t rank = 0; rank < 256 + words.size(); ++rank) {
    const std::string piece = rank < 256 ? std::string(1, static_cast<char>(rank)) : words[rank - 256];
    std::string text;
    for (std::size_t at = 0; at < piece.size(); at += 3) {
      const std::size_t left = std::min<std::size_t>(3, piece.size() - at);
      unsigned bits = 0;
      for (std::size_t i = 0; i < 3; ++i) bits = bits << 8 | (i < left ? static_cast<unsigned char>(piece[at + i]) : 0);
      for (std::size_t i = 0; i < 4; ++i) text += i <= left ? digits[bits >> (18 - 6 * i) & 63] : '=';
    }
    json += (rank == 0 ? "" : ",") + std::string(R"({"rank": )") + std::to_string(rank) + R"(, "token_bytes": ")" +
            text + "\"}";
  }
  const check::TemporaryFolder folder;
  check::write_file(folder / "tekken.json", json + "]}");
  return std::make_shared<const TextEncoder>(std::make_shared<const Tekken>(Tekken::load(folder / "tekken.json", 269)));
}

std::string listed(const std::vector<Hotword>& hotwords) {
  std::string text;
  for (const Hotword& hotword : hotwords) {
    text += hotword.phrase + "=" + std::to_string(hotword.weight).substr(0, 4) + ";";
  }
  return text;
}

// What the usage error of a call says.
template <class Call>
std::string refusal_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    CHECK_EQ(error.code(), ErrorCode::usage);
    return error.what();
  }
  return "(none)";
}

std::string lines(const std::string& text) { return listed(parse_hotwords(text, '\n')); }

}  // namespace

TEST("a text of one phrase per line") {
  CHECK_EQ(lines(""), "");
  CHECK_EQ(lines("\xEF\xBB\xBF# people\r\n\r\nAnna  Li :2.5\r\nBo\tDa\n  #x\nat 10:30\nC++ : 3"),
           "Anna Li=2.50;Bo Da=1.00;at 10:30=1.00;C++=3.00;");
  CHECK_EQ(listed(parse_hotwords("#1, one :2,, two", ',')), "#1=1.00;one=2.00;two=1.00;");
  CHECK_EQ(lines("Zu\xCC\x88rich"), "Z\xC3\xBCrich=1.00;");
}

TEST("what cannot be a hotword is named with its number") {
  const auto refusal = [](const std::string& text) { return refusal_of([&] { parse_hotwords(text, '\n'); }); };
  CHECK_CONTAINS(refusal("one\n\n?!"), "item 2: \"?!\" has no letter or digit");
  CHECK_CONTAINS(refusal("one :0"), "item 1: weight 0 is not a number above 0 and at most 20");
  CHECK_CONTAINS(refusal("one :-1"), "weight -1");
  CHECK_CONTAINS(refusal("one :20.5"), "weight 20.5");
  CHECK_CONTAINS(refusal("one :nan"), "weight \"nan\"");
  CHECK_CONTAINS(refusal("one :1,5"), "weight \"1,5\"");
  CHECK_CONTAINS(refusal(std::string(257, 'x')), "has 257 characters; 256 are the limit");
  CHECK_EQ(parse_hotwords(std::string(256, 'x'), '\n').size(), 1u);
  CHECK_CONTAINS(refusal("caf\xE9"), "not valid Unicode");
  std::string many;
  for (std::size_t i = 0; i < kMostHotwords; ++i) many += "x\n";
  CHECK_EQ(parse_hotwords(many, '\n').size(), kMostHotwords);
  CHECK_CONTAINS(refusal(many + "x"), "more than 10000");
}

TEST("each token earns the share of the phrase that is written with it") {
  const auto tree = hotword_tree(std::vector<Hotword>{{"Kubernetes", 2.0}, {"9", 3.0}}, *encoder());
  // " Kub" + "ern" + "etes": 3, 6 and 10 of 10 letters.
  std::uint32_t node = 0;
  const std::pair<std::uint32_t, float> expected[] = {{262, 0.6f}, {264, 1.2f}, {267, 2.0f}};
  for (const auto& [id, bonus] : expected) {
    const BiasTree::Child* child = tree->child(node, id);
    CHECK(child != nullptr);
    CHECK_NEAR(child->bonus, bonus, 1e-6f);
    CHECK(!child->opening);
    node = child->node;
  }
  CHECK(tree->children(node).empty());
  // Lower case is tried as well; its "k" alone may be a letter that is being spelled, and earns nothing.
  const BiasTree::Child* space = tree->child(0, 4 + ' ');
  CHECK(space != nullptr);
  const BiasTree::Child* letter = tree->child(space->node, 4 + 'k');
  CHECK(letter != nullptr);
  CHECK_EQ(letter->bonus, 0.0f);
  // Without its space: only as the first text. A phrase of one byte earns everything with it.
  CHECK(tree->child(0, 4 + 'K')->opening);
  CHECK_EQ(tree->child(0, 4 + '9')->bonus, 3.0f);
  CHECK(hotword_tree({}, *encoder()) == nullptr);
}

TEST("an encoder may be used by many threads from the first word on") {
  const auto shared = encoder();
  const std::vector<std::uint32_t> expected = {262, 264, 267, 4 + '9', 268};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { CHECK(shared->encode(" Kubernetes9 nine") == expected); });
  for (std::thread& thread : threads) thread.join();
  CHECK_CONTAINS(refusal_of([&] { shared->encode("ab\x80"); }), "not UTF-8 at byte 2");
  CHECK_CONTAINS(refusal_of([&] { shared->encode(std::string(4097, 'x')); }), "4096 are the limit");
}

CHECK_MAIN()
