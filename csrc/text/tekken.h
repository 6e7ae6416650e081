// The tekken tokenizer: id -> bytes, and what text_encoder.h needs for the way back (spec 7).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace voxtral_edge {

class JsonValue;

class Tekken {
 public:
  // Reads tekken.json. Error(model_format) on malformed JSON, ranks out of order, bad base64, pieces over 64 KiB, or
  // fewer pieces than vocab_size - special_count. Only the first vocab_size - special_count pieces are kept. No
  // vocab_size: the file's own.
  static Tekken load(const std::string& path, std::optional<std::size_t> vocab_size);

  std::size_t vocab_size() const { return special_count_ + offsets_.size() - 1; }
  std::size_t special_count() const { return special_count_; }
  bool is_special(std::uint32_t id) const { return id < special_count_; }
  // Bytes of a token; empty for special tokens. id must be < vocab_size().
  std::string_view bytes(std::uint32_t id) const;
  // The regular expression that cuts text into words before bytes are merged; empty if the file has none.
  const std::string& pattern() const { return pattern_; }
  // Id of a special token by its name ("[STREAMING_PAD]"). Error(model_format) if absent.
  std::uint32_t special(const std::string& name) const;

 private:
  void read_specials(const JsonValue& list);
  void read_pieces(const JsonValue& vocab, std::size_t count);

  std::size_t special_count_ = 0;
  std::vector<std::uint32_t> offsets_;  // into pieces_, one more than there are pieces
  std::string pieces_, pattern_;
  std::vector<std::pair<std::string, std::uint32_t>> specials_;
};

}  // namespace voxtral_edge
