// Guesses of the next tokens, to be verified in one pass over the weights. Wrong guesses cost rows, never correctness.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "decode/mark_predictor.h"
#include "decode/ngram_table.h"

namespace voxtral_edge {

// What the stream's own text repeats (n-grams) and what its audio tells of the next word marks, whichever has lately
// been right more often about marks. Deterministic; allocation-free after construction.
class Drafter {
 public:
  struct Shape {
    std::uint32_t pad_id, word_id;
    std::size_t width, delay_tokens;  // of the audio embeddings; of the stream
    std::size_t positions_ahead;      // audio embeddings that may wait for their tokens
  };
  explicit Drafter(const Shape& shape);

  // Forgets everything; the next audio embedding belongs to decoder position `position`.
  void reset(std::uint64_t position);
  // The next audio embeddings [count][width].
  void hear(const float* embeddings, std::size_t count) { marks_.hear(embeddings, count); }
  // The token that the model really chose at `position`.
  void learn(std::uint32_t id, std::uint64_t position);
  // Most likely tokens at `position`, position + 1, ... (their audio was heard): drafts [count].
  void propose(std::uint64_t position, std::span<std::uint32_t> drafts) const;

 private:
  bool is_pad_or_word(std::uint32_t id) const { return id == pad_id_ || id == word_id_; }

  std::uint32_t pad_id_, word_id_;
  NgramTable ngrams_;
  MarkPredictor marks_;
  float ngram_errors_ = 0.0f, mark_errors_ = 0.0f;  // shares of wrong guesses between pad and mark, fading
};

}  // namespace voxtral_edge
