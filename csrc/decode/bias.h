// Contextual biasing: phrases the listener expects get a bonus on the logits that would continue them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "model/head.h"

namespace voxtral_edge {

// One spelling of a phrase. Give every spelling that may occur (with and without leading space, other cases).
struct BiasSpelling {
  std::vector<std::uint32_t> ids;  // text tokens, in order
  std::vector<float> bonuses;      // logits that choosing each of them gains, given those before it; one per id, >= 0
  bool opening;                    // without leading space: only possible as the first text of a transcript
};

// The phrases as a prefix tree over tokens; where spellings share a prefix, the larger bonus counts. Immutable; shared
// by streams.
class BiasTree {
 public:
  // Error(usage) for an empty spelling, ids and bonuses of different length, a bonus that is not in [0, kMaxBonus], or
  // more than kMaxNodes tokens in all.
  explicit BiasTree(std::span<const BiasSpelling> spellings);

  static constexpr float kMaxBonus = 20.0f;  // beyond it the audio no longer decides anything
  static constexpr std::size_t kMaxNodes = 1u << 20;

  struct Child {
    std::uint32_t id;
    std::uint32_t node;
    float bonus;   // of choosing this child
    bool opening;  // reachable only as the first text (children of the root)
  };
  std::span<const Child> children(std::uint32_t node) const;
  const Child* child(std::uint32_t node, std::uint32_t id) const;  // null if absent
  std::size_t depth() const { return depth_; }

 private:
  struct Node {
    std::uint32_t first_child = 0, child_count = 0;
  };
  std::vector<Node> nodes_;
  std::vector<Child> children_;  // sorted by id within a node
  std::size_t depth_ = 0;
};

// The state of one stream in the tree. It moves the choice between text tokens only: where the model itself would emit
// a pad or a word mark, that stands, so biasing never makes it speak early or late.
//
// A phrase's token replaces the model's choice when, with its bonus, it is (a) likelier than the choice and (b) at
// least kLeastLead times as likely as all tokens besides these two together. A bonus decides between two candidates;
// where the model hesitates among many, the phrase being one of them says little, and (a) alone was wrong half of the
// time.
class Biaser {
 public:
  static constexpr float kLeastLead = 8.0f;  // swept with the default weight: docs/biasing.md

  explicit Biaser(std::shared_ptr<const BiasTree> tree);

  void reset();
  // The token to take, given the model's own choice and its logits [vocab_size] at this position. `text_started`: some
  // text was emitted before. Allocation-free. The probability returned is the model's own for that token.
  TokenChoice choose(TokenChoice unbiased, const float* logits, bool text_started) const;
  // The text token that was taken.
  void advance(std::uint32_t id, bool text_started);

 private:
  std::shared_ptr<const BiasTree> tree_;
  std::vector<std::uint32_t> active_, next_;  // nodes of phrases under way; reserved for the depth of the tree
};

}  // namespace voxtral_edge
