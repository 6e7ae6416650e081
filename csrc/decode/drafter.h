// Guesses of the next tokens, to be verified in one pass over the weights. Wrong guesses cost rows, never correctness.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "decode/draft_length.h"
#include "decode/mark_predictor.h"
#include "decode/ngram_table.h"

namespace voxtral_edge {

// What the stream's own text repeats (n-grams) and what its audio tells of the next word marks, whichever has lately
// been right more often about marks. How far guessing goes follows from how often guesses of each kind were right.
// Guesses are deterministic, their number is not; allocation-free after construction.
class Drafter {
 public:
  struct Shape {
    std::uint32_t pad_id, word_id;
    std::size_t width, delay_tokens;  // of the audio embeddings; of the stream
    std::size_t positions_ahead;      // audio embeddings that may wait for their tokens
    std::size_t most_drafts;
    std::span<const double> costs;  // of a pass of 1, 2, ... rows (DraftLength)
  };
  explicit Drafter(const Shape& shape);

  // Forgets everything; the next audio embedding belongs to decoder position `position`.
  void reset(std::uint64_t position);
  // The next audio embeddings [count][width].
  void hear(const float* embeddings, std::size_t count) { marks_.hear(embeddings, count); }
  // Most likely tokens at `position`, position + 1, ... (their audio was heard): the first of drafts [at most
  // most_drafts], as many as are worth a row. Returns how many.
  std::size_t propose(std::uint64_t position, std::span<std::uint32_t> drafts);
  // The token that the model really chose at `position`.
  void learn(std::uint32_t id, std::uint64_t position);
  // A pass of `rows` rows has brought `tokens` in `seconds`.
  void passed(std::size_t rows, std::size_t tokens, double seconds) { length_.passed(rows, tokens, seconds); }

 private:
  // How often guesses of one kind were right.
  struct Record {
    float chance = 0.75f;
    std::uint32_t count = 0;
    void add(bool right) {
      count = std::min(count + 1, 50u);  // then the last fifty decide
      chance += ((right ? 1.0f : 0.0f) - chance) / static_cast<float>(count + 2);
    }
  };
  static constexpr std::size_t kKinds = 3, kLevels = 8;  // of tokens: pad, mark, text; of evidence

  bool is_pad_or_word(std::uint32_t id) const { return id == pad_id_ || id == word_id_; }
  std::size_t kind_of(std::uint32_t id) const { return id == pad_id_ ? 0 : id == word_id_ ? 1 : 2; }
  std::size_t record_of(std::uint32_t last, std::uint32_t guess, std::size_t level) const {
    return (kind_of(last) * kKinds + kind_of(guess)) * kLevels + level;
  }

  std::uint32_t pad_id_, word_id_;
  NgramTable ngrams_;
  MarkPredictor marks_;
  DraftLength length_;
  float ngram_errors_ = 0.0f, mark_errors_ = 0.0f;  // shares of wrong guesses between pad and mark, fading
  std::vector<Record> records_;                     // [kKinds of last][kKinds of guess][kLevels]
  // The last proposal, beyond what was worth a row: [most_drafts], valid to proposed_ while every token matched.
  std::vector<std::uint32_t> guesses_;
  std::vector<std::size_t> guess_records_;
  std::vector<float> chances_;
  std::uint64_t proposed_at_ = 0;
  std::size_t proposed_ = 0;
};

}  // namespace voxtral_edge
