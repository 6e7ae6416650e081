// Guesses of the next tokens, to be verified in one pass over the weights. Wrong guesses cost rows, never correctness.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace voxtral_edge {

// An n-gram table of this stream: what followed the last 1 .. 4 tokens before. Bounded, learns as it goes, and falls
// back to a pad (most tokens of real speech are pads).
class NgramDrafter {
 public:
  explicit NgramDrafter(std::uint32_t pad_id);

  void reset();
  // The next token that the model really chose.
  void learn(std::uint32_t id);
  // Most likely continuation: drafts [count].
  void propose(std::span<std::uint32_t> drafts) const;

 private:
  static constexpr std::size_t kLongest = 4;
  static constexpr std::size_t kEntries = 1u << 14;  // per order; a collision overwrites: the newest is the likeliest

  struct Entry {
    std::uint64_t key = 0;
    std::uint32_t next = 0;
    std::uint32_t hits = 0;  // consecutive times that `next` was right
  };
  static std::uint64_t key_of(std::span<const std::uint32_t> context);
  const Entry* find(std::span<const std::uint32_t> context) const;
  std::uint32_t next_after(std::span<const std::uint32_t> recent) const;

  std::uint32_t pad_id_;
  std::vector<Entry> tables_[kLongest];
  std::uint32_t recent_[kLongest] = {};
  std::size_t known_ = 0;  // tokens in recent_, newest last
};

}  // namespace voxtral_edge
