#include "engine/opened_package.h"

#include <cstdint>

#include "base/error.h"

namespace voxtral_edge {
namespace {

// The manifest repeats the special ids that the tokenizer names; a package whose two files disagree is damaged.
void check_special(const Tekken& tokenizer, const char* name, std::uint32_t id) {
  const std::uint32_t found = tokenizer.special(name);
  if (found != id) {
    throw Error(ErrorCode::model_format, "tekken.json: token " + std::string(name) + " has id " +
                                             std::to_string(found) + ", manifest.json says " + std::to_string(id) +
                                             "; export the package again");
  }
}

}  // namespace

OpenedPackage open_package(const std::string& directory) {
  OpenedPackage opened;
  opened.package = Package::open(directory);
  const TokenConfig& tokens = opened.package->config().tokens;
  opened.tokenizer = std::make_shared<const Tekken>(Tekken::load(opened.package->tokenizer_path(), tokens.vocab_size));
  const Tekken& tokenizer = *opened.tokenizer;
  check_special(tokenizer, "<s>", tokens.bos);
  check_special(tokenizer, "</s>", tokens.eos);
  check_special(tokenizer, "[STREAMING_PAD]", tokens.streaming_pad);
  check_special(tokenizer, "[STREAMING_WORD]", tokens.streaming_word);
  if (tokenizer.special_count() != tokens.special_count) {
    throw Error(ErrorCode::model_format, "tekken.json: " + std::to_string(tokenizer.special_count()) +
                                             " special tokens, manifest.json says " +
                                             std::to_string(tokens.special_count) + "; export the package again");
  }
  opened.encoder = std::make_shared<const TextEncoder>(opened.tokenizer);
  return opened;
}

}  // namespace voxtral_edge
