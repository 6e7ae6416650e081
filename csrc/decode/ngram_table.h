// What followed the last tokens before, in this stream.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace voxtral_edge {

// An n-gram table: what followed the last 1 .. 4 tokens before. Bounded, learns as it goes, and falls back to a pad
// (most tokens of real speech are pads).
class NgramTable {
 public:
  static constexpr std::size_t kLongest = 4;

  // The last tokens of a text.
  class Context {
   public:
    void push(std::uint32_t id) {
      std::copy(ids_ + 1, ids_ + kLongest, ids_);
      ids_[kLongest - 1] = id;
      known_ = std::min(known_ + 1, kLongest);
    }
    std::uint32_t last() const { return ids_[kLongest - 1]; }  // 0 before the first
    std::size_t known() const { return known_; }
    std::span<const std::uint32_t> last(std::size_t count) const { return {ids_ + kLongest - count, count}; }

   private:
    std::uint32_t ids_[kLongest] = {};
    std::size_t known_ = 0;  // newest last
  };

  struct Guess {
    std::uint32_t id;
    std::size_t order;  // tokens of context that decided; 0: no context was right before
  };

  explicit NgramTable(std::uint32_t pad_id);

  void reset();
  // The next token that the model really chose.
  void learn(std::uint32_t id);
  const Context& context() const { return recent_; }
  std::uint32_t last() const { return recent_.last(); }
  // Most likely token after a context, and after what was learned last.
  Guess next_after(const Context& context) const;
  Guess next() const { return next_after(recent_); }

 private:
  static constexpr std::size_t kEntries = 1u << 14;  // per order; a collision overwrites: the newest is the likeliest

  struct Entry {
    std::uint64_t key = 0;
    std::uint32_t next = 0;
    std::uint32_t hits = 0;  // consecutive times that `next` was right
  };
  static std::uint64_t key_of(std::span<const std::uint32_t> context);
  const Entry* find(std::span<const std::uint32_t> context) const;

  std::uint32_t pad_id_;
  std::vector<Entry> tables_[kLongest];
  Context recent_;
};

}  // namespace voxtral_edge
