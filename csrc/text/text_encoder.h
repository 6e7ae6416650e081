// Text -> token ids (spec 7): what phrases need. The way back is Tekken::bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "text/split_pattern.h"
#include "text/tekken.h"

namespace voxtral_edge {

// The encoder of a tokenizer. The pattern of tekken.json cuts a text into pieces; within a piece, neighbouring byte
// strings are merged as long as their union is in the vocabulary, the union with the lowest rank first. Takes 0.5 MB at
// 131,072 tokens, made on first use. Thread-safe.
class TextEncoder {
 public:
  explicit TextEncoder(std::shared_ptr<const Tekken> tokenizer) : tokenizer_(std::move(tokenizer)) {}

  // Ids without control tokens. Error(usage) if the text is not UTF-8 or holds a word of more than kMostWordBytes;
  // Error(model_format) if the tokenizer's pattern or pieces cannot be used.
  std::vector<std::uint32_t> encode(std::string_view text) const;

  const Tekken& tokenizer() const { return *tokenizer_; }

  static constexpr std::size_t kMostWordBytes = 4096;  // merging costs the square of it; words have a few dozen

 private:
  struct Lookup {
    explicit Lookup(const Tekken& tokenizer);
    std::optional<std::uint32_t> find(const Tekken& tokenizer, std::string_view bytes) const;
    SplitPattern pattern;
    std::vector<std::uint32_t> by_bytes;  // ids of all pieces in the order of their bytes
  };
  const Lookup& lookup() const;
  void merge(const Lookup& lookup, std::string_view word, std::vector<std::uint32_t>& ids) const;

  std::shared_ptr<const Tekken> tokenizer_;
  mutable std::once_flag once_;
  mutable std::optional<Lookup> lookup_;
};

}  // namespace voxtral_edge
