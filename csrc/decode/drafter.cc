#include "decode/drafter.h"

namespace voxtral_edge {
namespace {

constexpr float kFading = 0.01f;  // the last hundred guesses, 8 s, decide
// GRID's sentences of one form are better guessed from the text: without a margin they lost 1.3 % tokens per pass.
constexpr float kMargin = 0.02f;

}  // namespace

Drafter::Drafter(const Shape& shape)
    : pad_id_(shape.pad_id),
      word_id_(shape.word_id),
      ngrams_(shape.pad_id),
      marks_(shape.width, shape.delay_tokens, shape.positions_ahead) {}

void Drafter::reset(std::uint64_t position) {
  ngrams_.reset();
  marks_.reset(position);
  ngram_errors_ = mark_errors_ = 0.0f;
}

void Drafter::learn(std::uint32_t id, std::uint64_t position) {
  if (ngrams_.last() != word_id_) {  // text follows a mark: nothing to learn about the next one
    const float odds = marks_.log_odds(position);
    const std::uint32_t guess = ngrams_.next();
    if (is_pad_or_word(id) && is_pad_or_word(guess)) {
      ngram_errors_ += kFading * ((guess != id ? 1.0f : 0.0f) - ngram_errors_);
      mark_errors_ += kFading * (((odds > 0.0f) != (id == word_id_) ? 1.0f : 0.0f) - mark_errors_);
    }
    marks_.learn(position, odds, id == word_id_);
  }
  ngrams_.learn(id);
}

void Drafter::propose(std::uint64_t position, std::span<std::uint32_t> drafts) const {
  const bool by_audio = ngram_errors_ - mark_errors_ > kMargin;
  NgramTable::Context context = ngrams_.context();
  for (std::uint32_t& draft : drafts) {
    draft = ngrams_.next_after(context);
    if (by_audio && context.last() != word_id_ && is_pad_or_word(draft)) {
      draft = marks_.log_odds(position) > 0.0f ? word_id_ : pad_id_;
    }
    context.push(draft);
    ++position;
  }
}

}  // namespace voxtral_edge
