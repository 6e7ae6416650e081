#include "text/tekken.h"

#include <array>
#include <cstddef>

#include "base/error.h"
#include "package/files.h"
#include "package/json.h"

namespace voxtral_edge {

namespace {

constexpr std::size_t kMostPieceBytes = std::size_t{64} << 10;
constexpr std::int64_t kMostSpecials = 1 << 16, kMostTokens = 1 << 24;
constexpr const char* kAdvice = "take tekken.json from the checkpoint that the weights came from";

constexpr std::array<std::int8_t, 256> base64_digits() {
  std::array<std::int8_t, 256> digits{};
  for (auto& digit : digits) digit = -1;
  constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (std::size_t i = 0; i < alphabet.size(); ++i) {
    digits[static_cast<unsigned char>(alphabet[i])] = static_cast<std::int8_t>(i);
  }
  return digits;
}

// Appends the decoded bytes; false for anything but canonical, padded base64.
bool append_base64(std::string_view text, std::string& out) {
  static constexpr std::array<std::int8_t, 256> digits = base64_digits();
  if (text.size() % 4 != 0) return false;
  std::size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  const std::string_view payload = text.substr(0, text.size() - padding);
  std::uint32_t window = 0;
  int bits = 0;
  for (const char c : payload) {
    const std::int8_t digit = digits[static_cast<unsigned char>(c)];
    if (digit < 0) return false;
    window = (window << 6) | static_cast<std::uint32_t>(digit);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out.push_back(static_cast<char>(static_cast<std::uint8_t>(window >> bits)));
      window &= (1u << bits) - 1;
    }
  }
  return window == 0;  // the bits that padding leaves over must be zero: one text per byte string
}

}  // namespace

Tekken Tekken::load(const std::string& path, std::optional<std::size_t> wanted_vocab_size) {
  const JsonLimits limits;
  const JsonDocument document = JsonDocument::parse(read_whole(open_file(path), limits.bytes), path, kAdvice, limits);
  const JsonValue root = document.root();
  Tekken tekken;
  const JsonValue config = root.at("config");
  tekken.special_count_ =
      static_cast<std::size_t>(config.at("default_num_special_tokens").as_integer(1, kMostSpecials));
  if (const auto pattern = config.find("pattern")) tekken.pattern_ = pattern->as_string();
  const std::size_t vocab_size =
      wanted_vocab_size ? *wanted_vocab_size
                        : static_cast<std::size_t>(config.at("default_vocab_size").as_integer(1, kMostTokens));
  tekken.read_specials(root.at("special_tokens"));
  const JsonValue vocab = root.at("vocab");
  if (vocab_size <= tekken.special_count_ || vocab.size() < vocab_size - tekken.special_count_) {
    vocab.fail("the model's vocabulary of " + std::to_string(vocab_size) + " tokens does not match " +
               std::to_string(tekken.special_count_) + " special tokens and " + std::to_string(vocab.size()) +
               " pieces");
  }
  tekken.read_pieces(vocab, vocab_size - tekken.special_count_);
  return tekken;
}

void Tekken::read_specials(const JsonValue& list) {
  if (list.size() > special_count_) {
    list.fail("more entries than config.default_num_special_tokens, which is " + std::to_string(special_count_));
  }
  std::vector<bool> seen(special_count_, false);
  for (const JsonValue entry : list.elements()) {
    const auto rank =
        static_cast<std::uint32_t>(entry.at("rank").as_integer(0, static_cast<std::int64_t>(special_count_) - 1));
    if (seen[rank]) entry.at("rank").fail("rank " + std::to_string(rank) + " appears twice");
    seen[rank] = true;
    specials_.emplace_back(std::string(entry.at("token_str").as_string()), rank);
  }
}

void Tekken::read_pieces(const JsonValue& vocab, std::size_t count) {
  offsets_.reserve(count + 1);
  offsets_.push_back(0);
  for (const JsonValue entry : vocab.elements()) {
    const std::size_t rank = offsets_.size() - 1;
    if (rank == count) break;
    entry.at("rank").as_integer(static_cast<std::int64_t>(rank), static_cast<std::int64_t>(rank));
    const JsonValue piece = entry.at("token_bytes");
    const std::string_view text = piece.as_string();
    if (!append_base64(text, pieces_)) piece.fail_expected("base64 with padding");
    const std::size_t bytes = pieces_.size() - offsets_.back();
    if (bytes == 0 || bytes > kMostPieceBytes) piece.fail("a piece must have 1 to 65536 bytes");
    offsets_.push_back(static_cast<std::uint32_t>(pieces_.size()));  // fits: less than the file's 64 MiB in all
  }
  pieces_.shrink_to_fit();
}

std::string_view Tekken::bytes(std::uint32_t id) const {
  if (is_special(id)) return {};
  const std::size_t piece = id - special_count_;
  if (piece + 1 >= offsets_.size()) {
    throw Error(ErrorCode::internal,
                "token " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(vocab_size()));
  }
  return std::string_view(pieces_).substr(offsets_[piece], offsets_[piece + 1] - offsets_[piece]);
}

std::uint32_t Tekken::special(const std::string& name) const {
  for (const auto& [text, rank] : specials_) {
    if (text == name) return rank;
  }
  throw Error(ErrorCode::model_format,
              "tekken.json: special_tokens: there is no " + json_quoted(name) +
                  "; this tokenizer does not belong to a realtime model; take tekken.json from the checkpoint");
}

}  // namespace voxtral_edge
