#include "decode/drafter.h"

namespace voxtral_edge {
namespace {

constexpr float kFading = 0.01f;  // the last hundred guesses, 8 s, decide
// GRID's sentences of one form are better guessed from the text: without a margin they lost 1.3 % tokens per pass.
constexpr float kMargin = 0.02f;

// Log odds in steps of 1, those between -4 and 4.
std::size_t level_of(float log_odds) { return static_cast<std::size_t>(std::clamp(log_odds + 4.0f, 0.0f, 7.0f)); }

}  // namespace

Drafter::Drafter(const Shape& shape)
    : pad_id_(shape.pad_id),
      word_id_(shape.word_id),
      ngrams_(shape.pad_id),
      marks_(shape.width, shape.delay_tokens, shape.positions_ahead),
      length_(shape.costs),
      records_(kKinds * kKinds * kLevels),
      guesses_(shape.most_drafts),
      guess_records_(shape.most_drafts),
      chances_(shape.most_drafts) {}

void Drafter::reset(std::uint64_t position) {
  ngrams_.reset();
  marks_.reset(position);
  length_.reset();
  ngram_errors_ = mark_errors_ = 0.0f;
  std::fill(records_.begin(), records_.end(), Record{});
  proposed_ = 0;
}

void Drafter::learn(std::uint32_t id, std::uint64_t position) {
  if (const std::uint64_t index = position - proposed_at_; index < proposed_) {
    const bool right = guesses_[index] == id;
    records_[guess_records_[index]].add(right);
    if (!right) proposed_ = 0;  // those behind it were guesses for another text
  }
  if (ngrams_.last() != word_id_) {  // text follows a mark: nothing to learn about the next one
    const float odds = marks_.log_odds(position);
    const std::uint32_t guess = ngrams_.next().id;
    if (is_pad_or_word(id) && is_pad_or_word(guess)) {
      ngram_errors_ += kFading * ((guess != id ? 1.0f : 0.0f) - ngram_errors_);
      mark_errors_ += kFading * (((odds > 0.0f) != (id == word_id_) ? 1.0f : 0.0f) - mark_errors_);
    }
    marks_.learn(position, odds, id == word_id_);
  }
  ngrams_.learn(id);
}

std::size_t Drafter::propose(std::uint64_t position, std::span<std::uint32_t> drafts) {
  const bool by_audio = ngram_errors_ - mark_errors_ > kMargin;
  NgramTable::Context context = ngrams_.context();
  proposed_at_ = position;
  proposed_ = drafts.size();
  for (std::size_t i = 0; i < proposed_; ++i) {
    NgramTable::Guess guess = ngrams_.next_after(context);
    std::size_t level = guess.order;
    if (context.last() != word_id_ && is_pad_or_word(guess.id)) {
      const float odds = marks_.log_odds(position + i);
      if (by_audio) guess.id = odds > 0.0f ? word_id_ : pad_id_;
      level = level_of(odds);
    }
    guesses_[i] = guess.id;
    guess_records_[i] = record_of(context.last(), guess.id, level);
    chances_[i] = records_[guess_records_[i]].chance;
    context.push(guess.id);
  }
  const std::size_t worth = length_.best({chances_.data(), proposed_});
  std::copy_n(guesses_.begin(), worth, drafts.begin());
  return worth;
}

}  // namespace voxtral_edge
