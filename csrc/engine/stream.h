// One live stream: pcm -> ring -> log-mel -> encoder -> adapter -> decoder -> tokens -> words -> events.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "audio/gain.h"
#include "audio/log_mel.h"
#include "audio/speech_levels.h"
#include "decode/bias.h"
#include "decode/drafter.h"
#include "decode/pad_run.h"
#include "engine/engine.h"
#include "engine/events.h"
#include "engine/time_line.h"
#include "text/tekken.h"
#include "text/utf8_stream.h"
#include "text/word_builder.h"

namespace voxtral_edge {

struct StreamOptions {
  std::size_t delay_tokens = 0;      // 1 .. 30 (80 .. 2400 ms)
  std::size_t max_batch_tokens = 0;  // tokens of audio per encode call when more are waiting; 0: engine's choice
  std::optional<std::size_t> max_drafts =
      std::nullopt;                        // tokens guessed per decode pass when audio is ahead; none: what pays off
  GainOptions gain = {};                   // 0 dB: the samples as they are, as the reference
  std::uint64_t start_token_position = 0;  // where the absolute counters start (tests of long streams)
  std::shared_ptr<const BiasTree> bias = nullptr;               // phrases to listen for; none: null
  std::optional<PadRunPenalty> pad_run_penalty = std::nullopt;  // none: the model's own choice, as the reference
  bool stop_at_eos = false;  // offline reference behaviour; a live stream goes on after EOS
  bool keep_history = true;  // token_ids() and text(); off: constant memory, no allocation per step
  bool trace = false;        // keep every intermediate (StreamTrace)
  std::vector<std::uint32_t> replayed_ids =
      {};                          // benchmarks: tokens to take, over and over, in place of the model's own
  bool assume_full_cache = false;  // benchmarks: cost of full attention windows from the start; text means nothing
};

// Everything the model computed, for parity checks; shapes as in the reference: row-major, frames first.
struct StreamTrace {
  std::vector<float> mel;        // [mel frames][mel_bins]
  std::vector<float> encoder;    // [encoder frames][encoder width]
  std::vector<float> projector;  // [tokens][decoder width]
  std::vector<float> logits;     // [generated][vocab_size]
};

struct StreamStats {
  std::uint64_t fed_samples = 0;       // real audio, 16 kHz
  std::uint64_t replaced_samples = 0;  // NaN or infinite samples that were replaced by 0
  float gain_decibels = 0;             // what the next samples are amplified by
  std::uint64_t encoded_tokens = 0;    // left padding included
  std::uint64_t generated_tokens = 0;
  std::uint64_t encode_calls = 0, decode_calls = 0;
  std::uint64_t drafted_tokens = 0, accepted_drafts = 0;
  std::uint64_t mel_ns = 0;                    // this stream's own front end
  std::uint64_t encode_ns = 0, decode_ns = 0;  // calls this stream took part in, waiting for other threads included
  EncodeTimes encode_times;                    // stages of those calls, where the engine knows them
  DecodeTimes decode_times;
};

enum class StreamAction {
  feed,       // append samples and run every token that became complete
  feed_more,  // the same where more follows at once: the last tokens may wait for it, so that passes are full ones
  flush,      // bring out the words behind the delay by inserting silence; the stream goes on, its time line stays true
  finish,     // right padding, the last tokens, the last word, and one final event; exactly once until reset()
  resume,     // go on with the action that a bounded run_streams left unfinished
};

// Streaming equals offline: any chunking of the same samples gives the same tokens, because the grid is fixed, every
// stage is incremental and no kernel's result depends on its neighbours. Not thread-safe; several streams may share an
// engine from several threads, and run_streams (stream_group.h) runs several in shared passes.
class Stream {
 public:
  // Error(usage) for a delay outside 1 .. 30 tokens, more than 4096 max_batch_tokens, ids that the model does not have,
  // or a start_token_position from 2^48 on.
  Stream(std::shared_ptr<Engine> engine, std::shared_ptr<const Tekken> tokenizer, const StreamOptions& options);

  // 16 kHz mono samples in [-1, 1]. Events are appended to `events`. Error(usage) after finish().
  void feed(std::span<const float> samples, Events& events) { run(StreamAction::feed, samples, events); }
  void feed_more(std::span<const float> samples, Events& events) { run(StreamAction::feed_more, samples, events); }
  void flush(Events& events) { run(StreamAction::flush, {}, events); }
  void finish(Events& events) { run(StreamAction::finish, {}, events); }
  // Back to an empty stream with the same options. If it throws, the stream has failed.
  void reset();

  Engine& engine() const { return *engine_; }
  bool finished() const { return finished_; }
  bool busy() const { return busy_; }  // a bounded run_streams has left an action unfinished: resume it
  // An action broke in the middle (an engine written in Python raised, memory ran out): what of it the model has seen
  // is not known, so everything but reset() is an Error(usage).
  bool failed() const { return failed_; }
  std::size_t prompt_tokens() const { return prompt_tokens_; }
  const std::vector<std::uint32_t>& token_ids() const { return token_ids_; }  // generated, without the prompt
  const std::string& text() const { return text_; }
  const StreamTrace& trace() const { return trace_; }
  // The traced logits since the last call, [tokens][vocab_size]; forgets the whole trace so far, so that a long stream
  // can be traced piece by piece.
  std::vector<float> take_logits() { return std::exchange(trace_, {}).logits; }
  const StreamStats& stats() const { return stats_; }
  std::uint64_t saturated_numbers() const { return engine_->saturated_numbers(*state_); }
  const ModelConfig& config() const { return engine_->config(); }

  // The stages of an action, for drivers: begin, then while there is work encode and decode, then pause, which ends the
  // action if it is complete and keeps its samples if not. fail after an error, wherever it came from: the caller's
  // samples are let go of. A request has at most `most_tokens` tokens (positions) and stays valid until the call that
  // takes its result.
  void begin(StreamAction action, std::span<const float> samples);
  bool next_encode(EncodeRequest& request, std::size_t most_tokens);
  // Too little is encoded for a full decode pass.
  bool wants_audio() const { return pending_tokens_ <= max_drafts_; }
  void encoded(std::uint64_t took_ns, const EncodeTimes& times);
  bool next_decode(DecodeRequest& request, std::size_t most_tokens);
  void decoded(std::uint64_t took_ns, const DecodeTimes& times, Events& events);
  void pause(Events& events);
  void fail();

 private:
  void start();
  void run(StreamAction action, std::span<const float> samples, Events& events);
  void hear_left_padding();
  void end(Events& events);
  void drop_encoded_mel();
  bool refill();
  void fill_mel();
  std::size_t complete_tokens() const;
  // What a pass must find waiting to be run at all.
  std::size_t least_encode() const { return action_ == StreamAction::feed_more ? batch_tokens_ : 1; }
  std::size_t least_decode() const { return action_ == StreamAction::feed_more ? max_drafts_ + 1 : 1; }
  bool may_want_logits() const { return options_.trace || biaser_ || pad_run_; }
  bool wants_logits(std::size_t results) const {
    return options_.trace || biaser_ || (pad_run_ && pad_run_->wants_logits(results));
  }
  void keep_logits(std::size_t result);
  TokenChoice choose(std::size_t result) const;
  void accept(TokenChoice choice, Events& events);
  void emit_text(std::string text, Events& events);
  void emit_words(Events& events);
  double audio_time(std::uint64_t token_index);
  double word_start(const Word& word, double now_s) const;
  std::uint64_t padding_after_audio() const;

  std::shared_ptr<Engine> engine_;
  std::shared_ptr<const Tekken> tokenizer_;
  StreamOptions options_;
  std::size_t batch_tokens_, max_drafts_, prompt_tokens_;

  // Input of the running action: samples, then silence, cleaned slice by slice.
  StreamAction action_ = StreamAction::feed;
  std::span<const float> input_;
  std::vector<float> kept_input_;  // what input_ refers to between the calls of a bounded run
  std::uint64_t silence_samples_ = 0;
  std::array<float, 1024> clean_{};
  std::span<const float> slice_;  // the part of clean_ that the front end has not taken

  Gain gain_;
  LogMel log_mel_;
  SpeechLevels levels_;     // of the fed audio
  std::vector<float> mel_;  // [batch_tokens * mel frames per token][mel_bins], filled to mel_frames_
  std::size_t mel_frames_ = 0;
  std::unique_ptr<EngineState> state_;
  std::vector<float> embeddings_;  // audio embeddings not decoded yet: [pending_tokens_][decoder width]
  std::size_t pending_tokens_ = 0;
  std::vector<float> encoder_frames_;   // trace only
  std::vector<float> logits_;           // [results][vocab_size], where the choice is not the model's alone
  std::size_t encoding_tokens_ = 0;     // tokens of the encode request that is out
  std::size_t decoding_positions_ = 0;  // positions of the decode request that is out
  std::size_t decoding_results_ = 0;
  std::vector<std::uint32_t> previous_ids_;  // of the decode request: the last token, then drafts
  std::vector<TokenChoice> choices_;
  Drafter drafter_;
  std::optional<PadRun> pad_run_;
  std::optional<Biaser> biaser_;

  std::uint64_t stream_samples_ = 0;  // fed and inserted samples, left padding excluded
  std::uint64_t encoded_tokens_ = 0;  // since this stream's BOS
  std::uint64_t next_position_ = 0;   // next decoder position, counted from this stream's BOS
  std::uint64_t token_limit_ = 0;     // tokens that exist once finish has fixed the end; 0: open
  std::uint32_t last_id_ = 0;         // chosen last; the prompt comes before the first
  std::uint64_t unflushed_samples_ = 0;
  bool busy_ = false, finished_ = false, failed_ = false, stopped_ = false, text_started_ = false;

  TimeLine time_line_;
  Utf8Stream utf8_;
  WordBuilder words_;
  std::vector<std::uint32_t> token_ids_;
  std::string text_;
  StreamTrace trace_;
  StreamStats stats_;
};

}  // namespace voxtral_edge
