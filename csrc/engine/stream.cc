#include "engine/stream.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/stopwatch.h"
#include "engine/stream_group.h"

namespace voxtral_edge {
namespace {

constexpr std::size_t kMaxDelayTokens = 30;  // the model was trained on 1 .. 30 (spec 6)

// A word that became ready so much later than it ended (words without marks queue up behind each other) keeps the
// start that its text suggests: the limit must not depend on how far ahead audio was pushed.
constexpr double kLongestWordLag_s = 8.0;

// Beyond it batches only delay text and take memory; the products that follow from it stay far inside 64 bits.
constexpr std::size_t kMostBatchTokens = 4096;
// 700,000 years of 80 ms: positions in frames and samples that follow from it never wrap.
constexpr std::uint64_t kEndOfPositions = std::uint64_t{1} << 48;

const StreamOptions& checked(const StreamOptions& options, std::size_t vocab_size) {
  if (options.delay_tokens < 1 || options.delay_tokens > kMaxDelayTokens) {
    throw Error(ErrorCode::usage, "delay: " + std::to_string(options.delay_tokens) +
                                      " tokens is outside 1 .. 30; use 80 .. 1200 ms in steps of 80 ms, or 2400 ms");
  }
  if (options.max_batch_tokens > kMostBatchTokens) {
    throw Error(ErrorCode::usage, "max_batch_tokens: " + std::to_string(options.max_batch_tokens) + " is more than " +
                                      std::to_string(kMostBatchTokens) + "; 0 leaves it to the engine");
  }
  if (options.start_token_position >= kEndOfPositions) {
    throw Error(ErrorCode::usage,
                "start_token_position: " + std::to_string(options.start_token_position) + " is not below 2^48");
  }
  for (const std::uint32_t id : options.replayed_ids) {
    if (id >= vocab_size) {
      throw Error(ErrorCode::usage, "replayed_ids: " + std::to_string(id) +
                                        " is no token of this model; ids are 0 .. " + std::to_string(vocab_size - 1));
    }
  }
  return options;
}

void append(std::vector<float>& to, const std::vector<float>& from, std::size_t count) {
  to.insert(to.end(), from.begin(), from.begin() + static_cast<std::ptrdiff_t>(count));
}

// A number of drafts that was asked for is kept to, whatever it costs.
std::span<const double> costs_of_drafts(const Engine& engine, const StreamOptions& options) {
  static constexpr double kFree[] = {1.0};
  return options.max_drafts ? std::span<const double>(kFree) : engine.decode_costs();
}

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

}  // namespace

Stream::Stream(std::shared_ptr<Engine> engine, std::shared_ptr<const Tekken> tokenizer, const StreamOptions& options)
    : engine_(std::move(engine)),
      tokenizer_(std::move(tokenizer)),
      options_(checked(options, config().tokens.vocab_size)),
      batch_tokens_(options.max_batch_tokens != 0 ? options.max_batch_tokens : engine_->preferred_batch_tokens()),
      max_drafts_(std::min(options.max_drafts.value_or(engine_->decode_costs().size() - 1), kMaxPassRows - 1)),
      prompt_tokens_(1 + config().audio.left_pad_tokens + options.delay_tokens),
      gain_(options.gain),
      log_mel_(config().audio, config().encoder.mel_bins),
      levels_(config().audio.sample_rate_hz,
              kLongestWordLag_s +
                  static_cast<double>((options.delay_tokens + 2 * batch_tokens_ + max_drafts_ + 3) *
                                      config().audio.samples_per_token) /  // audio pushed ahead of the decoder
                      static_cast<double>(config().audio.sample_rate_hz)),
      drafter_({config().tokens.streaming_pad, config().tokens.streaming_word, config().decoder.width,
                options.delay_tokens, batch_tokens_ + max_drafts_, max_drafts_, costs_of_drafts(*engine_, options)}),
      time_line_(
          static_cast<double>(config().audio.samples_per_token) / static_cast<double>(config().audio.sample_rate_hz),
          static_cast<double>(config().audio.sample_rate_hz)) {
  const ModelConfig& c = config();
  mel_.resize(batch_tokens_ * c.audio.mel_frames_per_token * c.encoder.mel_bins);
  embeddings_.resize((batch_tokens_ + max_drafts_) * c.decoder.width);
  previous_ids_.resize(batch_tokens_ + max_drafts_ + 1);
  choices_.resize(max_drafts_ + 1);
  if (options.trace) {
    encoder_frames_.resize(batch_tokens_ * c.adapter.frames_per_token * c.encoder.width);
  }
  if (options.bias) biaser_.emplace(options.bias);
  if (options.pad_run_penalty) pad_run_.emplace(*options.pad_run_penalty, c.tokens.streaming_pad);
  if (may_want_logits()) logits_.resize((max_drafts_ + 1) * c.decoder.vocab_size);
  reset();
}

void Stream::reset() {
  try {
    start();
  } catch (...) {
    fail();
    throw;
  }
}

void Stream::start() {
  log_mel_.reset(options_.start_token_position * config().audio.samples_per_token);
  gain_.reset();
  levels_.reset();
  input_ = slice_ = {};
  silence_samples_ = 0;
  mel_frames_ = pending_tokens_ = encoding_tokens_ = decoding_positions_ = 0;
  stream_samples_ = encoded_tokens_ = next_position_ = token_limit_ = unflushed_samples_ = 0;
  busy_ = finished_ = failed_ = stopped_ = text_started_ = false;
  if (biaser_) biaser_->reset();
  if (pad_run_) pad_run_->reset();
  time_line_.reset();
  utf8_.reset();
  words_.reset();
  token_ids_.clear();
  text_.clear();
  trace_ = {};
  stats_ = {};
  hear_left_padding();
  stream_samples_ = 0;              // the padding is none of the audio
  drafter_.reset(encoded_tokens_);  // a copied warm start brings no embeddings: nobody hears those of the padding
}

// Left padding is known before any audio: run it now, so that the first real samples find a warm stream. Only the first
// stream of a delay computes it; the others copy its state and run the front end alone.
void Stream::hear_left_padding() {
  const WarmStarts::Key key{options_.delay_tokens, options_.start_token_position};
  const bool shared = !options_.trace && !options_.assume_full_cache;
  const std::shared_ptr<const EngineState> warm = shared ? engine_->warm_starts().find(key) : nullptr;
  silence_samples_ = std::uint64_t{config().audio.left_pad_tokens} * config().audio.samples_per_token;
  if (warm) {
    state_ = engine_->copy_state(*warm);
    for (fill_mel(); (encoding_tokens_ = complete_tokens()) > 0; fill_mel()) {
      drop_encoded_mel();
      next_position_ += encoding_tokens_;
    }
    return;
  }
  state_ = engine_->create_state(options_.delay_tokens, options_.start_token_position);
  if (options_.assume_full_cache) engine_->assume_full_windows(*state_);
  Events none;
  run(StreamAction::feed, {}, none);
  if (std::unique_ptr<EngineState> copy = shared ? engine_->copy_state(*state_) : nullptr) {
    engine_->warm_starts().store(key, std::move(copy));
  }
}

void Stream::run(StreamAction action, std::span<const float> samples, Events& events) {
  const StreamWork work{this, action, samples, &events};
  run_streams({&work, 1});
}

void Stream::begin(StreamAction action, std::span<const float> samples) {
  if (action == StreamAction::resume) return;
  action_ = action;
  busy_ = true;
  const bool brings_samples = action == StreamAction::feed || action == StreamAction::feed_more;
  input_ = brings_samples ? samples : std::span<const float>{};
  if (brings_samples) return;
  if (action == StreamAction::flush && unflushed_samples_ == 0) return;
  silence_samples_ = padding_after_audio();
  const std::uint64_t token_samples = config().audio.samples_per_token;
  if (action == StreamAction::flush) {
    time_line_.insert_silence(static_cast<double>(stream_samples_) / static_cast<double>(token_samples),
                              stats_.fed_samples, silence_samples_);
  } else {
    token_limit_ = config().audio.left_pad_tokens + (stream_samples_ + silence_samples_) / token_samples;
    // The last token looks 40 samples past its end (spec 3.3): one more token of zeros completes its frames. The token
    // that these zeros begin is beyond the limit and never runs.
    silence_samples_ += token_samples;
  }
}

void Stream::pause(Events& events) {
  fill_mel();
  if (pending_tokens_ < least_decode() && complete_tokens() < least_encode()) {
    end(events);
  } else if (input_.data() + input_.size() != kept_input_.data() + kept_input_.size()) {
    kept_input_.assign(input_.begin(), input_.end());  // the caller's samples end with its call
    input_ = kept_input_;
  }
}

void Stream::fail() {
  input_ = {};
  busy_ = false;
  failed_ = true;
}

// Alignment to a whole token, then delay + 1 + the fixed budget for the longest word (spec 3.2).
std::uint64_t Stream::padding_after_audio() const {
  const AudioConfig& audio = config().audio;
  const std::uint64_t rest = stream_samples_ % audio.samples_per_token;
  return (rest == 0 ? 0 : audio.samples_per_token - rest) +
         (options_.delay_tokens + 1 + audio.right_pad_extra_tokens) * audio.samples_per_token;
}

// The next slice of input in clean_: samples with NaN and infinity replaced, or silence. False when there is none.
bool Stream::refill() {
  if (!input_.empty()) {
    const std::size_t count = std::min(input_.size(), clean_.size());
    for (std::size_t i = 0; i < count; ++i) {
      const bool finite = std::isfinite(input_[i]);
      clean_[i] = finite ? input_[i] : 0.0f;
      stats_.replaced_samples += finite ? 0 : 1;
    }
    levels_.push({clean_.data(), count});  // as it was said: a gain that moves is no pause
    gain_.apply({clean_.data(), count});
    stats_.gain_decibels = gain_.decibels();
    stats_.fed_samples += count;
    unflushed_samples_ += count;
    input_ = input_.subspan(count);
    slice_ = {clean_.data(), count};
  } else if (silence_samples_ > 0) {
    const std::size_t count = static_cast<std::size_t>(std::min<std::uint64_t>(silence_samples_, clean_.size()));
    std::fill_n(clean_.begin(), count, 0.0f);
    silence_samples_ -= count;
    slice_ = {clean_.data(), count};
  } else {
    return false;
  }
  stream_samples_ += slice_.size();
  return true;
}

void Stream::fill_mel() {
  const std::size_t bins = config().encoder.mel_bins, capacity = mel_.size() / bins;
  Stopwatch watch;
  while (mel_frames_ < capacity && (!slice_.empty() || refill())) {
    const LogMel::Progress done = log_mel_.push(slice_, &mel_[mel_frames_ * bins], capacity - mel_frames_);
    slice_ = slice_.subspan(done.samples);
    mel_frames_ += done.frames;
  }
  stats_.mel_ns += watch.lap_ns();
}

std::size_t Stream::complete_tokens() const {
  const std::size_t tokens = mel_frames_ / config().audio.mel_frames_per_token;
  if (token_limit_ == 0) return tokens;
  return static_cast<std::size_t>(std::min<std::uint64_t>(tokens, token_limit_ - encoded_tokens_));
}

bool Stream::next_encode(EncodeRequest& request, std::size_t most_tokens) {
  if (!wants_audio()) return false;
  fill_mel();
  encoding_tokens_ = std::min(complete_tokens(), most_tokens);
  if (encoding_tokens_ < std::min(least_encode(), most_tokens)) return false;
  request = {state_.get(), mel_.data(), encoding_tokens_, &embeddings_[pending_tokens_ * config().decoder.width],
             options_.trace ? encoder_frames_.data() : nullptr};
  return true;
}

void Stream::encoded(std::uint64_t took_ns, const EncodeTimes& times) {
  const ModelConfig& c = config();
  if (options_.trace) {
    append(trace_.mel, mel_, encoding_tokens_ * c.audio.mel_frames_per_token * c.encoder.mel_bins);
    append(trace_.encoder, encoder_frames_, encoding_tokens_ * c.adapter.frames_per_token * c.encoder.width);
    const float* embeddings = &embeddings_[pending_tokens_ * c.decoder.width];
    trace_.projector.insert(trace_.projector.end(), embeddings, embeddings + encoding_tokens_ * c.decoder.width);
  }
  if (max_drafts_ > 0) drafter_.hear(&embeddings_[pending_tokens_ * c.decoder.width], encoding_tokens_);
  drop_encoded_mel();
  if (!stopped_) pending_tokens_ += encoding_tokens_;
  stats_.encode_ns += took_ns;
  stats_.encode_times += times;
  ++stats_.encode_calls;
}

void Stream::drop_encoded_mel() {
  const std::size_t bins = config().encoder.mel_bins;
  const std::size_t used_frames = encoding_tokens_ * config().audio.mel_frames_per_token;
  std::copy(mel_.begin() + static_cast<std::ptrdiff_t>(used_frames * bins),
            mel_.begin() + static_cast<std::ptrdiff_t>(mel_frames_ * bins), mel_.begin());
  mel_frames_ -= used_frames;
  encoded_tokens_ += encoding_tokens_;
  stats_.encoded_tokens += encoding_tokens_;
}

// Prompt positions (BOS, then pads) go through together; from the last one on, each token feeds the next (spec 6), and
// where audio is ahead, guesses of the next tokens go through with it.
bool Stream::next_decode(DecodeRequest& request, std::size_t most_tokens) {
  if (pending_tokens_ < least_decode()) return false;
  const std::size_t most = std::min(pending_tokens_, most_tokens);
  const std::uint64_t prompt_left = next_position_ < prompt_tokens_ ? prompt_tokens_ - next_position_ : 0;
  if (prompt_left > 0) {
    decoding_positions_ = static_cast<std::size_t>(std::min<std::uint64_t>(prompt_left, most));
    decoding_results_ = decoding_positions_ == prompt_left ? 1 : 0;
    std::fill_n(previous_ids_.begin(), decoding_positions_, config().tokens.streaming_pad);
    if (next_position_ == 0) previous_ids_[0] = config().tokens.bos;
  } else {
    previous_ids_[0] = last_id_;
    const std::size_t drafts = drafter_.propose(next_position_, {&previous_ids_[1], std::min(most - 1, max_drafts_)});
    decoding_positions_ = decoding_results_ = drafts + 1;
    stats_.drafted_tokens += drafts;
  }
  request = {state_.get(),
             embeddings_.data(),
             previous_ids_.data(),
             decoding_positions_,
             decoding_results_,
             choices_.data(),
             wants_logits(decoding_results_) ? logits_.data() : nullptr};
  return true;
}

// Row i is what plain decoding would have computed as long as the tokens before it were guessed right: accept up to the
// first wrong guess, whose row already holds the right token, and take the positions behind it back.
void Stream::decoded(std::uint64_t took_ns, const DecodeTimes& times, Events& events) {
  stats_.decode_ns += took_ns;
  stats_.decode_times += times;
  ++stats_.decode_calls;
  std::size_t kept = decoding_positions_;
  if (next_position_ >= prompt_tokens_) {
    for (kept = 0; kept < decoding_positions_ && !stopped_;) {
      keep_logits(kept);
      accept(choose(kept), events);
      ++kept;
      if (kept < decoding_positions_ && last_id_ != previous_ids_[kept]) break;
    }
    stats_.accepted_drafts += kept - 1;
    drafter_.passed(decoding_positions_, kept, 1e-9 * static_cast<double>(took_ns));
  } else if (decoding_results_ == 1) {
    keep_logits(0);
    accept(choose(0), events);
  }
  next_position_ += kept;
  if (kept < decoding_positions_) engine_->rewind(*state_, decoding_positions_ - kept);
  pending_tokens_ = stopped_ ? 0 : pending_tokens_ - kept;
  const auto width = static_cast<std::ptrdiff_t>(config().decoder.width);
  std::copy(embeddings_.begin() + static_cast<std::ptrdiff_t>(kept) * width,
            embeddings_.begin() + static_cast<std::ptrdiff_t>(kept + pending_tokens_) * width, embeddings_.begin());
}

void Stream::end(Events& events) {
  busy_ = false;
  if (action_ == StreamAction::flush) {
    words_.close();
    emit_words(events);
    unflushed_samples_ = 0;
  } else if (action_ == StreamAction::finish) {
    emit_text(utf8_.finish(), events);
    words_.finish();
    emit_words(events);
    finished_ = true;
    events.push_back({EventType::final, text_, 0.0, 0.0, 0.0f, stats_.generated_tokens});
  }
}

void Stream::keep_logits(std::size_t result) {
  if (!options_.trace) return;
  const float* logits = &logits_[result * config().decoder.vocab_size];
  trace_.logits.insert(trace_.logits.end(), logits, logits + config().decoder.vocab_size);
}

// The model's choice: a long run of pads may be ended, and the biaser moves it between text tokens only.
TokenChoice Stream::choose(std::size_t result) const {
  TokenChoice choice = choices_[result];
  if (!options_.replayed_ids.empty()) {
    choice.id = options_.replayed_ids[stats_.generated_tokens % options_.replayed_ids.size()];
    return choice;
  }
  const std::size_t vocab_size = config().decoder.vocab_size;
  const float* logits = logits_.data() + result * vocab_size;
  if (pad_run_) choice = pad_run_->choose(choice, logits, vocab_size);
  if (!biaser_ || tokenizer_->is_special(choice.id)) return choice;
  return biaser_->choose(choice, logits, text_started_);
}

void Stream::accept(TokenChoice choice, Events& events) {
  const TokenConfig& tokens = config().tokens;
  const std::uint64_t index = stats_.generated_tokens++;
  last_id_ = choice.id;
  if (pad_run_) pad_run_->advance(choice.id);
  if (max_drafts_ > 0) drafter_.learn(choice.id, prompt_tokens_ - 1 + index);
  if (options_.keep_history) token_ids_.push_back(choice.id);
  if (choice.id == tokens.streaming_word) {
    words_.mark(audio_time(index));
  } else if (choice.id == tokens.eos) {
    // In a live stream EOS can come after a pause and must not end the session (spec 6): it closes a segment. The model
    // sees it as the previous token, as in the reference's resumable server.
    words_.pad();
    words_.close();
    emit_words(events);
    const double time_s = audio_time(index);
    events.push_back({EventType::segment, {}, time_s, time_s, choice.probability, index});
    stopped_ = options_.stop_at_eos;
  } else if (tokenizer_->is_special(choice.id)) {
    words_.pad();
  } else {
    if (biaser_) biaser_->advance(choice.id, text_started_);
    emit_text(utf8_.push(tokenizer_->bytes(choice.id)), events);
    words_.text(tokenizer_->bytes(choice.id), choice.probability, index, audio_time(index));
  }
  emit_words(events);
}

// A mark can be late by some tokens; no word ends after the audio that was fed.
double Stream::audio_time(std::uint64_t token_index) {
  const double fed_s = static_cast<double>(stats_.fed_samples) / static_cast<double>(config().audio.sample_rate_hz);
  return whole_milliseconds(std::min(time_line_.middle_of_token(token_index), fed_s));
}

void Stream::emit_text(std::string text, Events& events) {
  if (!text_started_) {  // words carry their own leading space: strip it only at the very start (spec 7)
    const auto first = std::find_if_not(text.begin(), text.end(), is_space);
    text.erase(text.begin(), first);
  }
  if (text.empty()) return;
  text_started_ = true;
  if (options_.keep_history) text_ += text;
  const std::uint64_t index = stats_.generated_tokens == 0 ? 0 : stats_.generated_tokens - 1;
  events.push_back({EventType::text, std::move(text), 0.0, 0.0, 0.0f, index});
}

double Stream::word_start(const Word& word, double now_s) const {
  if (now_s - word.end_s > kLongestWordLag_s) return word.start_s;
  return levels_.word_start(word.earliest_s, word.end_s, estimated_duration_s(word.text));
}

void Stream::emit_words(Events& events) {
  if (words_.ready().empty()) return;
  const double now_s = audio_time(stats_.generated_tokens - 1);
  for (Word& word : words_.ready()) {
    const double start_s = whole_milliseconds(word_start(word, now_s));
    events.push_back({EventType::word, std::move(word.text), start_s, word.end_s, word.probability, word.token_index});
  }
  words_.ready().clear();
}

}  // namespace voxtral_edge
