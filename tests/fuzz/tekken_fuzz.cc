// Mutated tokenizer files: loaded, and then every id has its bytes, or Error(model_format).
#include "fuzz_target.h"
#include "temporary_folder.h"
#include "text/tekken.h"
#include "tiny_package.h"

using namespace voxtral_edge;

namespace {

constexpr std::size_t kVocabulary = 7;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const check::TemporaryFolder folder;
  check::write_file(folder / "tekken.json", {reinterpret_cast<const char*>(data), size});
  for (const std::size_t vocabulary : {kVocabulary, std::size_t{320}}) {
    fuzz::expect_model_format_error([&] {
      const Tekken tekken = Tekken::load(folder / "tekken.json", vocabulary);
      fuzz::require(tekken.vocab_size() == vocabulary, "the size that was asked for");
      std::size_t total = 0;
      for (std::uint32_t id = 0; id < vocabulary; ++id) {
        fuzz::require(tekken.bytes(id).empty() == tekken.is_special(id), "pieces have bytes, specials none");
        total += tekken.bytes(id).size();
      }
      fuzz::require(total <= size, "no more bytes than the file");
      fuzz::require(tekken.special("[STREAMING_PAD]") < tekken.special_count(), "specials are below the pieces");
    });
  }
  return 0;
}

std::vector<std::string> fuzz::seeds() {
  const check::TemporaryFolder folder;
  check::write_tiny_package(folder.path());
  return {R"({"config": {"default_num_special_tokens": 3, "default_vocab_size": 7}, "vocab": [
{"rank": 0, "token_bytes": "QQ==", "token_str": "A"}, {"rank": 1, "token_bytes": "/wA=", "token_str": null},
{"rank": 2, "token_bytes": "IHRoZQ==", "token_str": " the"}, {"rank": 3, "token_bytes": "w6k=", "token_str": "\u00e9"}],
"special_tokens": [{"rank": 0, "token_str": "<unk>"}, {"rank": 2, "token_str": "[STREAMING_PAD]"}]})",
          check::read_file(folder / "tekken.json")};
}

std::vector<std::string> fuzz::dictionary() {
  std::vector<std::string> words = json_dictionary();
  words.insert(words.end(),
               {"QQ==", "=", "==", "====", "QUFB", "/+", "QR==", "\"rank\": 1", "\"token_bytes\"", "65536", "65537"});
  return words;
}
