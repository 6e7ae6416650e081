#include "engine/stream.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace voxtral_edge {
namespace {

constexpr std::size_t kMaxDelayTokens = 30;   // the model was trained on 1 .. 30 (spec 6)

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

}  // namespace

Stream::Stream(std::shared_ptr<Engine> engine, std::shared_ptr<const Tekken> tokenizer, const StreamOptions& options)
    : engine_(std::move(engine)),
      tokenizer_(std::move(tokenizer)),
      options_(options),
      batch_tokens_(options.max_batch_tokens != 0 ? options.max_batch_tokens : engine_->preferred_batch_tokens()),
      prompt_tokens_(1 + config().audio.left_pad_tokens + options.delay_tokens),
      log_mel_(config().audio, config().encoder.mel_bins),
      time_line_(static_cast<double>(config().audio.samples_per_token) / static_cast<double>(config().audio.sample_rate_hz),
                 static_cast<double>(config().audio.sample_rate_hz)) {
  if (options.delay_tokens < 1 || options.delay_tokens > kMaxDelayTokens) {
    throw Error(ErrorCode::usage, "delay: " + std::to_string(options.delay_tokens) +
                                      " tokens is outside 1 .. 30; use 80 .. 1200 ms in steps of 80 ms, or 2400 ms");
  }
  const ModelConfig& c = config();
  mel_.resize(batch_tokens_ * c.audio.mel_frames_per_token * c.encoder.mel_bins);
  embeddings_.resize(batch_tokens_ * c.decoder.width);
  if (options.trace) {
    encoder_frames_.resize(batch_tokens_ * c.adapter.frames_per_token * c.encoder.width);
    logits_.resize(c.decoder.vocab_size);
  }
  previous_ids_.resize(batch_tokens_);
  choices_.resize(batch_tokens_);
  reset();
}

void Stream::reset() {
  state_ = engine_->create_state(options_.delay_tokens, options_.start_token_position);
  log_mel_.reset(options_.start_token_position * config().audio.samples_per_token);
  mel_frames_ = 0;
  stream_samples_ = next_position_ = token_limit_ = unflushed_samples_ = 0;
  finished_ = stopped_ = text_started_ = false;
  last_id_ = config().tokens.bos;
  time_line_.reset();
  utf8_.reset();
  words_.reset();
  token_ids_.clear();
  text_.clear();
  trace_ = {};
  stats_ = {};
  // Left padding is known before any audio: run it now, so that the first real samples find a warm stream.
  Events none;
  insert_silence(config().audio.left_pad_tokens * config().audio.samples_per_token, none);
  run_complete_tokens(none);
  stream_samples_ = 0;
}

void Stream::feed(std::span<const float> samples, Events& events) {
  if (finished_) throw Error(ErrorCode::usage, "feed after finish: call reset() to start a new stream");
  while (!samples.empty()) {
    const std::size_t count = std::min(samples.size(), clean_.size());
    for (std::size_t i = 0; i < count; ++i) {
      const bool finite = std::isfinite(samples[i]);
      clean_[i] = finite ? samples[i] : 0.0f;
      stats_.replaced_samples += finite ? 0 : 1;
    }
    stats_.fed_samples += count;
    unflushed_samples_ += count;
    take_samples({clean_.data(), count}, events);
    samples = samples.subspan(count);
  }
  run_complete_tokens(events);
}

void Stream::flush(Events& events) {
  if (finished_) throw Error(ErrorCode::usage, "flush after finish: call reset() to start a new stream");
  if (unflushed_samples_ == 0) return;
  const std::uint64_t silence = padding_after_audio();
  time_line_.insert_silence(static_cast<double>(stream_samples_) / static_cast<double>(config().audio.samples_per_token),
                            stats_.fed_samples, silence);
  insert_silence(silence, events);
  run_complete_tokens(events);
  words_.finish();
  emit_words(events);
  unflushed_samples_ = 0;
}

void Stream::finish(Events& events) {
  if (finished_) throw Error(ErrorCode::usage, "finish was already called: call reset() to start a new stream");
  insert_silence(padding_after_audio(), events);
  token_limit_ = config().audio.left_pad_tokens + stream_samples_ / config().audio.samples_per_token;
  // The last token looks 40 samples past its end (spec 3.3): one more token of zeros completes its frames. The token
  // these zeros begin is beyond the limit and never runs.
  insert_silence(config().audio.samples_per_token, events);
  run_complete_tokens(events);
  emit_text(utf8_.finish(), events);
  words_.finish();
  emit_words(events);
  finished_ = true;
  events.push_back({EventType::final, text_, 0.0, 0.0, 0.0f, stats_.generated_tokens});
}

// Alignment to a whole token, then delay + 1 + the fixed budget for the longest word (spec 3.2).
std::uint64_t Stream::padding_after_audio() const {
  const AudioConfig& audio = config().audio;
  const std::uint64_t rest = stream_samples_ % audio.samples_per_token;
  return (rest == 0 ? 0 : audio.samples_per_token - rest) +
         (options_.delay_tokens + 1 + audio.right_pad_extra_tokens) * audio.samples_per_token;
}

void Stream::insert_silence(std::uint64_t samples, Events& events) {
  static constexpr std::array<float, 1024> kZeros{};
  while (samples > 0) {
    const std::size_t count = static_cast<std::size_t>(std::min<std::uint64_t>(samples, kZeros.size()));
    take_samples({kZeros.data(), count}, events);
    samples -= count;
  }
}

// Samples -> mel frames; whenever a full batch of frames is there, the batch runs. Frames of a smaller number of
// complete tokens wait until the call that fed them has no more samples (run_complete_tokens).
void Stream::take_samples(std::span<const float> samples, Events& events) {
  const std::size_t bins = config().encoder.mel_bins;
  const std::size_t capacity = mel_.size() / bins;
  stream_samples_ += samples.size();
  while (!samples.empty()) {
    const auto start = std::chrono::steady_clock::now();
    const LogMel::Progress done = log_mel_.push(samples, &mel_[mel_frames_ * bins], capacity - mel_frames_);
    stats_.mel_seconds += seconds_since(start);
    samples = samples.subspan(done.samples);
    mel_frames_ += done.frames;
    if (mel_frames_ == capacity) run_complete_tokens(events);
  }
}

void Stream::run_complete_tokens(Events& events) {
  const std::size_t per_token = config().audio.mel_frames_per_token, bins = config().encoder.mel_bins;
  for (;;) {
    std::size_t tokens = mel_frames_ / per_token;
    if (token_limit_ != 0) tokens = static_cast<std::size_t>(std::min<std::uint64_t>(tokens, token_limit_ - next_position_));
    if (tokens == 0) break;
    if (!stopped_ || options_.trace) encode(tokens);
    if (stopped_) {
      next_position_ += tokens;
    } else {
      decode(tokens, events);
    }
    const std::size_t used = tokens * per_token * bins;
    std::copy(mel_.begin() + static_cast<std::ptrdiff_t>(used),
              mel_.begin() + static_cast<std::ptrdiff_t>(mel_frames_ * bins), mel_.begin());
    mel_frames_ -= tokens * per_token;
  }
  if (token_limit_ != 0 && next_position_ >= token_limit_) mel_frames_ = 0;
}

void Stream::encode(std::size_t tokens) {
  const auto start = std::chrono::steady_clock::now();
  const EncodeRequest request{state_.get(), mel_.data(), tokens, embeddings_.data(),
                              options_.trace ? encoder_frames_.data() : nullptr};
  engine_->encode({&request, 1});
  stats_.encode_seconds += seconds_since(start);
  stats_.encoded_tokens += tokens;
  ++stats_.encode_calls;
  if (!options_.trace) return;
  const ModelConfig& c = config();
  const auto append = [](std::vector<float>& to, const std::vector<float>& from, std::size_t count) {
    to.insert(to.end(), from.begin(), from.begin() + static_cast<std::ptrdiff_t>(count));
  };
  append(trace_.mel, mel_, tokens * c.audio.mel_frames_per_token * c.encoder.mel_bins);
  append(trace_.encoder, encoder_frames_, tokens * c.adapter.frames_per_token * c.encoder.width);
  append(trace_.projector, embeddings_, tokens * c.decoder.width);
}

// Prompt positions (BOS, then pads) go through in one pass; from the last one on, each token feeds the next (spec 6).
void Stream::decode(std::size_t tokens, Events& events) {
  const std::size_t width = config().decoder.width;
  for (std::size_t done = 0; done < tokens && !stopped_;) {
    const std::uint64_t prompt_left = next_position_ < prompt_tokens_ ? prompt_tokens_ - next_position_ : 0;
    const std::size_t count =
        static_cast<std::size_t>(std::clamp<std::uint64_t>(prompt_left, 1, tokens - done));
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t position = next_position_ + i;
      previous_ids_[i] = position == 0                ? config().tokens.bos
                         : position < prompt_tokens_ ? config().tokens.streaming_pad
                                                     : last_id_;
    }
    const std::size_t results = next_position_ + count >= prompt_tokens_ ? 1 : 0;
    const auto start = std::chrono::steady_clock::now();
    const DecodeRequest request{state_.get(), &embeddings_[done * width], previous_ids_.data(), count,
                                results, choices_.data(), options_.trace && results ? logits_.data() : nullptr};
    engine_->decode({&request, 1});
    stats_.decode_seconds += seconds_since(start);
    next_position_ += count;
    done += count;
    if (results == 1) accept(choices_[0], events);
  }
}

void Stream::accept(TokenChoice choice, Events& events) {
  const TokenConfig& tokens = config().tokens;
  const std::uint64_t index = stats_.generated_tokens++;
  last_id_ = choice.id;
  if (options_.keep_history) token_ids_.push_back(choice.id);
  if (options_.trace) trace_.logits.insert(trace_.logits.end(), logits_.begin(), logits_.end());
  if (choice.id == tokens.streaming_word) {
    words_.mark(audio_time(index));
  } else if (choice.id == tokens.streaming_pad) {
    words_.pad();
  } else if (choice.id == tokens.eos) {
    // In a live stream EOS can come after a pause and must not end the session (spec 6): it closes a segment. The model
    // sees it as the previous token, as in the reference's resumable server.
    words_.finish();
    emit_words(events);
    const double time_s = audio_time(index);
    events.push_back({EventType::segment, {}, time_s, time_s, choice.probability, index});
    stopped_ = options_.stop_at_eos;
  } else if (!tokenizer_->is_special(choice.id)) {
    emit_text(utf8_.push(tokenizer_->bytes(choice.id)), events);
    words_.text(tokenizer_->bytes(choice.id), choice.probability, index, audio_time(index));
  }
  emit_words(events);
}

// A mark can be late by some tokens; no word ends after the audio that was fed.
double Stream::audio_time(std::uint64_t token_index) {
  const double fed_s = static_cast<double>(stats_.fed_samples) / static_cast<double>(config().audio.sample_rate_hz);
  return std::min(time_line_.middle_of_token(token_index), fed_s);
}

void Stream::emit_text(std::string text, Events& events) {
  if (!text_started_) {   // words carry their own leading space: strip it only at the very start (spec 7)
    const auto first = std::find_if_not(text.begin(), text.end(), is_space);
    text.erase(text.begin(), first);
  }
  if (text.empty()) return;
  text_started_ = true;
  if (options_.keep_history) text_ += text;
  const std::uint64_t index = stats_.generated_tokens == 0 ? 0 : stats_.generated_tokens - 1;
  events.push_back({EventType::text, std::move(text), 0.0, 0.0, 0.0f, index});
}

void Stream::emit_words(Events& events) {
  for (Word& word : words_.take()) {
    events.push_back({EventType::word, std::move(word.text), word.start_s, word.end_s, word.probability,
                      word.token_index});
  }
}

}  // namespace voxtral_edge
