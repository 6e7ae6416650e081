#include "engine/native_engine.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <future>
#include <iterator>
#include <limits>
#include <string>
#include <utility>

#include "base/cpu_topology.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/stopwatch.h"
#include "kernels/registry.h"
#include "model/delay_condition.h"

namespace voxtral_edge {
namespace {

std::string layer_name(const char* stack, std::size_t layer, const char* rest) {
  return std::string(stack) + ".layers." + std::to_string(layer) + "." + rest;
}

StackShape encoder_shape(const EncoderConfig& c) {
  return {c.layers, c.width, c.heads, c.kv_heads, c.head_dim, c.ffn_width, c.window_frames, c.norm_eps, c.rope_theta};
}

StackShape decoder_shape(const DecoderConfig& c) {
  return {c.layers, c.width, c.heads, c.kv_heads, c.head_dim, c.ffn_width, c.window_tokens, c.norm_eps, c.rope_theta};
}

// `biased`: the encoder's q, v, o and down projections carry biases, the decoder's do not (spec 2).
TransformerStack load_stack(WeightLoader& loader, const char* stack, const StackShape& shape, bool biased) {
  std::vector<StackLayer> layers;
  for (std::size_t i = 0; i < shape.layers; ++i) {
    const auto name = [&](const char* rest) { return layer_name(stack, i, rest); };
    using Names = std::vector<std::string>;
    StackLayer layer;
    layer.attention_norm = loader.vector(name("attention_norm.weight"));
    layer.qkv = loader.linear({name("attention.q.weight"), name("attention.k.weight"), name("attention.v.weight")},
                              biased ? Names{name("attention.q.bias"), "", name("attention.v.bias")} : Names{});
    layer.output = loader.linear({name("attention.o.weight")}, biased ? Names{name("attention.o.bias")} : Names{});
    layer.ffn_norm = loader.vector(name("ffn_norm.weight"));
    layer.gate = loader.linear({name("ffn.gate.weight")});
    layer.up = loader.linear({name("ffn.up.weight")});
    layer.down = loader.linear({name("ffn.down.weight")}, biased ? Names{name("ffn.down.bias")} : Names{});
    layers.push_back(std::move(layer));
  }
  return TransformerStack(shape, std::move(layers), loader.vector(std::string(stack) + ".norm.weight"));
}

KvRingShape ring_shape(const StackShape& s, KvType type) {
  return {s.layers, s.kv_heads, s.head_dim, s.window, kMaxPassRows, type};
}

std::string attention_precision(const Package& package, const std::string& stack) {
  const auto found = package.precision().find(stack + ".attention");
  return found == package.precision().end() ? "" : found->second;
}

KvType kv_type(KvChoice choice, KvType automatic) {
  switch (choice) {
    case KvChoice::f32:
      return KvType::f32;
    case KvChoice::f16:
      return KvType::f16;
    case KvChoice::i8:
      return KvType::i8;
    case KvChoice::automatic:
      break;
  }
  return automatic;
}

// Beside int4 weights f16, whose rounding changes a tenth of the tokens that theirs does (0.2 % against 2.3 % of the
// demo model's): a live step of the 4B model reads 0.39 GB of encoder keys and values as f32.
KvType encoder_type(KvChoice choice, const Package& package) {
  return kv_type(choice, attention_precision(package, "encoder") == "int4" ? KvType::f16 : KvType::f32);
}

KvType decoder_type(KvChoice choice, const Package& package) {
  return kv_type(choice, attention_precision(package, "decoder") == "fp32" ? KvType::f32 : KvType::f16);
}

struct NativeState final : EngineState {
  NativeState(const KvRingShape& encoder, const KvRingShape& decoder) : encoder_ring(encoder), decoder_ring(decoder) {}
  KvRing encoder_ring, decoder_ring;
  ConvTails tails;
  std::uint64_t next_frame = 0;     // absolute encoder frame
  std::uint64_t next_position = 0;  // absolute decoder position (token)
  std::shared_ptr<const std::vector<float>> delay_scales;
};

std::string gigabytes(std::uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f GB", 1e-9 * static_cast<double>(bytes));
  return text;
}

// Of memory of this process: pages of a mapped file may be more than the machine has, only slow.
void require_memory(const Package& package, const NativeEngineOptions& options) {
  const std::uint64_t needed = package.identity().weights_bytes;
  const std::uint64_t obtainable = options.obtainable_memory_bytes.value_or(read_memory().obtainable);
  if (needed <= obtainable) return;
  throw Error(ErrorCode::out_of_memory,
              package.directory() + ": the weights need " + gigabytes(needed) + " of memory and " +
                  gigabytes(obtainable) +
                  " can be had; not enough memory: close other programs, raise the limit (ulimit -v, container, "
                  "service), export the package with a smaller --precision, or map the weights from disk "
                  "(--cache-packed; packed_cache_folder in C)");
}

std::string packed_cache_path(const Package& package, const NativeEngineOptions& options) {
  return options.packed_cache_folder + "/" + packed_cache_file_name(package);
}

bool is_there(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::symlink_status(path, ignored).type() != std::filesystem::file_type::not_found;
}

NativeState& native(EngineState* state) { return static_cast<NativeState&>(*state); }

}  // namespace

struct NativeEngine::Weights {
  ConvStem stem;
  TransformerStack encoder;
  Adapter adapter;
  Linear embedding;  // [vocab_size, width]: lookup and head
  TransformerStack decoder;
  Head head;

  Weights(WeightLoader& loader, const ModelConfig& config, std::size_t threads)
      : stem(loader.convolution("encoder.conv1.weight", "encoder.conv1.bias"),
             loader.convolution("encoder.conv2.weight", "encoder.conv2.bias"), config.encoder.mel_bins,
             config.encoder.width),
        encoder(load_stack(loader, "encoder", encoder_shape(config.encoder), true)),
        adapter(loader.linear({"adapter.linear1.weight"}), loader.linear({"adapter.linear2.weight"})),
        embedding(loader.linear({"decoder.embedding.weight"})),
        decoder(load_stack(loader, "decoder", decoder_shape(config.decoder), false)),
        head(embedding, config.decoder.vocab_size, threads) {}
};

NativeEngine::NativeEngine(std::shared_ptr<const Package> package, const NativeEngineOptions& options,
                           std::size_t threads)
    : package_(std::move(package)),
      encoder_kv_(encoder_type(options.kv_cache, *package_)),
      decoder_kv_(decoder_type(options.kv_cache, *package_)),
      executor_(options.kernels.empty() ? active_kernels() : kernels_by_name(options.kernels), threads,
                std::max({config().encoder.heads * config().encoder.head_dim, config().encoder.ffn_width,
                          config().encoder.width, config().adapter.input_width, config().adapter.hidden_width,
                          config().decoder.heads * config().decoder.head_dim, config().decoder.ffn_width,
                          config().decoder.width}),
                std::max(config().encoder.heads / config().encoder.kv_heads,
                         config().decoder.heads / config().decoder.kv_heads),
                std::max(config().encoder.head_dim, config().decoder.head_dim)) {
  place_workers(executor_.pool(), read_cpu_topology(), options.affinity);
  weights_ = options.packed_cache_folder.empty() ? load_weights(options.progress, {}) : load_through_cache(options);
  const std::size_t widest = std::max(config().encoder.width, config().decoder.width);
  rows_.reserve(kMaxPassRows);
  residual_.resize(kMaxPassRows * widest);
  normed_.resize(kMaxPassRows * widest);
  choices_.resize(kMaxPassRows);
  logit_rows_.resize(kMaxPassRows);
  encode_pieces_.reserve(kMaxPassRows);
  decode_pieces_.reserve(kMaxPassRows);
  decode_costs_ = measure_decode_costs();
}

NativeEngine::~NativeEngine() = default;

std::unique_ptr<NativeEngine::Weights> NativeEngine::load_weights(const LoadProgress& progress, PackedCacheUse cache) {
  WeightLoader loader(*package_, executor_.pool(), progress, cache);
  auto weights = std::make_unique<Weights>(loader, config(), executor_.pool().size());
  // Read again when a delay is first asked for; read here so that a damaged package fails on loading.
  for (std::size_t i = 0; i < config().decoder.layers; ++i) {
    for (const char* name : {"delay.linear1.weight", "delay.linear2.weight"})
      loader.vector(layer_name("decoder", i, name));
  }
  return weights;
}

// A cache is never needed: whatever is wrong with it ends in a note and in loading as usual.
std::unique_ptr<NativeEngine::Weights> NativeEngine::load_through_cache(const NativeEngineOptions& options) {
  using State = PackedCacheReport::State;
  packed_cache_.path = packed_cache_path(*package_, options);
  if (is_there(packed_cache_.path)) {
    try {
      const PackedCacheReader reader(packed_cache_.path, *package_, executor_.pool());
      auto weights = load_weights(options.progress, {&reader, nullptr});
      packed_cache_.state = State::mapped;
      return weights;
    } catch (const Error& error) {
      packed_cache_.note =
          std::string(error.what()) + (options.packed_cache_write
                                           ? "; the cache is made again"
                                           : "; loaded without it, `voxtral-edge cache add` makes it again");
      packed_cache_.state = State::failed;
    }
  }
  if (options.packed_cache_write) {
    try {
      PackedCacheWriter writer(packed_cache_.path, *package_);
      // What is kept must be what the manifest describes: later starts trust the manifest alone. Beside the permuting
      // and writing, because one thread takes 8 s for 2.5 GB.
      auto verified = std::async([this] { package_->verify_weights(); });
      auto weights = load_weights(options.progress, {nullptr, &writer});
      verified.get();
      writer.finish(executor_.pool());
      packed_cache_.state = State::written;
      return weights;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::model_format) throw;  // the package itself
      packed_cache_.state = State::failed;
      packed_cache_.note = std::string(error.what()) + "; loaded without a cache";
    }
  }
  require_memory(*package_, options);
  return load_weights(options.progress, {});
}

std::unique_ptr<NativeEngine> NativeEngine::load(std::shared_ptr<const Package> package,
                                                 const NativeEngineOptions& options) {
  const bool mapped = !options.packed_cache_folder.empty() &&
                      (options.packed_cache_write || is_there(packed_cache_path(*package, options)));
  if (!mapped) require_memory(*package, options);
  const std::size_t threads = options.threads != 0 ? options.threads : read_cpu_topology().default_threads();
  return std::unique_ptr<NativeEngine>(new NativeEngine(std::move(package), options, threads));
}

// A pass of 16 tokens (64 encoder frames) costs 10 to 12 ms a token where a live one costs 16 to 19 (AVX-512, 2
// threads).
std::size_t NativeEngine::preferred_batch_tokens() const { return kMaxPassRows / frames_per_token(); }

// What drafts cost depends on the machine: 8 rows take 1.1 to 1.25 times one row with AVX-512 and 16 rows twice, but 8
// rows 5 times on a Jetson's CPU. So the largest product, the head, is timed with some numbers of rows; between them
// costs are taken as linear. Only speed depends on the answer, never a token.
std::vector<double> NativeEngine::measure_decode_costs() {
  struct Point {
    std::size_t rows;
    double seconds = std::numeric_limits<double>::infinity();
  };
  Point points[] = {{1}, {4}, {8}, {16}};
  // The best of each counts: neighbours on a busy machine only ever slow a pass down. In turns, because what the memory
  // gives drifts meanwhile; until turns bring nothing better: 3 (70 ms at full size) if the machine is quiet.
  constexpr int kLeastTurns = 3, kMostTurns = 10;
  std::fill(residual_.begin(), residual_.end(), 1.0f);
  bool better = true;
  for (int turn = 0; turn < kLeastTurns || (better && turn < kMostTurns); ++turn) {
    better = false;
    for (Point& point : points) {
      Stopwatch watch;
      weights_->head.forward(executor_, residual_.data(), point.rows, choices_.data(), logit_rows_.data());
      const double seconds = 1e-9 * static_cast<double>(watch.lap_ns());
      better = better || seconds < 0.98 * point.seconds;
      point.seconds = std::min(point.seconds, seconds);
    }
  }
  std::vector<double> costs{1.0};
  for (std::size_t i = 1; i < std::size(points); ++i) {
    const double begin = costs.back(), end = std::max(begin, points[i].seconds / points[0].seconds);
    const std::size_t steps = points[i].rows - points[i - 1].rows;
    for (std::size_t step = 1; step <= steps; ++step) {
      costs.push_back(begin + (end - begin) * static_cast<double>(step) / static_cast<double>(steps));
    }
  }
  return costs;
}

std::size_t NativeEngine::weight_bytes() const {
  return weights_->stem.weight_bytes() + weights_->encoder.weight_bytes() + weights_->adapter.weight_bytes() +
         weights_->embedding.bytes() + weights_->decoder.weight_bytes();
}

std::size_t NativeEngine::state_bytes() const {
  return ring_shape(encoder_shape(config().encoder), encoder_kv_).bytes() +
         ring_shape(decoder_shape(config().decoder), decoder_kv_).bytes();
}

std::shared_ptr<const std::vector<float>> NativeEngine::scales_for(std::size_t delay_tokens) {
  const std::lock_guard<std::mutex> lock(delay_mutex_);
  auto& scales = delay_scales_[delay_tokens];
  if (!scales) scales = std::make_shared<const std::vector<float>>(delay_scales(*package_, delay_tokens));
  return scales;
}

std::unique_ptr<EngineState> NativeEngine::create_state(std::size_t delay_tokens, std::uint64_t first_token_position) {
  auto state = std::make_unique<NativeState>(ring_shape(encoder_shape(config().encoder), encoder_kv_),
                                             ring_shape(decoder_shape(config().decoder), decoder_kv_));
  state->tails = weights_->stem.make_tails();
  state->next_frame = first_token_position * frames_per_token();
  state->next_position = first_token_position;
  state->encoder_ring.reset(state->next_frame);
  state->decoder_ring.reset(state->next_position);
  state->delay_scales = scales_for(delay_tokens);
  return state;
}

std::unique_ptr<EngineState> NativeEngine::copy_state(const EngineState& state) {
  const auto& from = static_cast<const NativeState&>(state);
  auto copy = std::make_unique<NativeState>(ring_shape(encoder_shape(config().encoder), encoder_kv_),
                                            ring_shape(decoder_shape(config().decoder), decoder_kv_));
  copy->encoder_ring.copy(from.encoder_ring, from.next_frame);
  copy->decoder_ring.copy(from.decoder_ring, from.next_position);
  copy->tails = from.tails;
  copy->next_frame = from.next_frame;
  copy->next_position = from.next_position;
  copy->delay_scales = from.delay_scales;
  return copy;
}

void NativeEngine::assume_full_windows(EngineState& state) {
  native(&state).encoder_ring.assume_full();
  native(&state).decoder_ring.assume_full();
}

void NativeEngine::rewind(EngineState& state, std::size_t positions) { native(&state).next_position -= positions; }

std::uint64_t NativeEngine::saturated_numbers(const EngineState& state) const {
  const auto& rings = static_cast<const NativeState&>(state);
  return rings.encoder_ring.saturated() + rings.decoder_ring.saturated();
}

// Splits requests into pieces and hands them to `run` in groups of at most `limit` units (tokens or positions), so that
// several streams share one pass over the weights. size(request) -> units; cut(request, first, count) -> piece.
template <class Request, class Size, class Cut, class Run>
void in_passes(std::span<const Request> requests, std::size_t limit, std::vector<Request>& pieces, Size size, Cut cut,
               Run run) {
  pieces.clear();
  std::size_t used = 0;
  for (const Request& request : requests) {
    for (std::size_t done = 0; done < size(request);) {
      const std::size_t count = std::min(limit - used, size(request) - done);
      pieces.push_back(cut(request, done, count));
      done += count;
      used += count;
      if (used == limit) {
        run(std::span<const Request>(pieces));
        pieces.clear();
        used = 0;
      }
    }
  }
  if (!pieces.empty()) run(std::span<const Request>(pieces));
}

EncodeTimes NativeEngine::encode(std::span<const EncodeRequest> requests) {
  const std::size_t mel_floats = config().audio.mel_frames_per_token * config().encoder.mel_bins;
  const std::size_t frame_floats = frames_per_token() * config().encoder.width;
  const std::lock_guard<std::mutex> lock(pass_mutex_);
  EncodeTimes times;
  static_assert(kMostFramesPerToken <= kMaxPassRows, "a pass must hold the frames of one token");
  in_passes(
      requests, kMaxPassRows / frames_per_token(), encode_pieces_, [](const EncodeRequest& r) { return r.tokens; },
      [&](const EncodeRequest& r, std::size_t first, std::size_t count) {
        return EncodeRequest{r.state, r.mel + first * mel_floats, count,
                             r.audio_embeddings + first * config().decoder.width,
                             r.encoder_frames ? r.encoder_frames + first * frame_floats : nullptr};
      },
      [&](std::span<const EncodeRequest> pass) { encode_pass(pass, times); });
  return times;
}

void NativeEngine::encode_pass(std::span<const EncodeRequest> pass, EncodeTimes& times) {
  const std::size_t width = config().encoder.width, out_width = config().decoder.width;
  Stopwatch watch;
  rows_.clear();
  for (const EncodeRequest& request : pass) {
    NativeState& state = native(request.state);
    weights_->stem.forward(executor_, request.mel, request.tokens * config().audio.mel_frames_per_token, state.tails,
                           &residual_[rows_.size() * width]);
    for (std::size_t f = 0; f < request.tokens * frames_per_token(); ++f) {
      rows_.push_back({&state.encoder_ring, state.next_frame++, nullptr});
    }
  }
  times.conv_ns += watch.lap_ns();
  weights_->encoder.forward(executor_, rows_, residual_.data(), normed_.data());
  times.encoder_ns += watch.lap_ns();
  const float* frames = normed_.data();
  float* embeddings = residual_.data();  // the residual stream is spent
  weights_->adapter.forward(executor_, frames, rows_.size() / frames_per_token(), embeddings);
  for (const EncodeRequest& request : pass) {
    const std::size_t frame_floats = request.tokens * frames_per_token() * width;
    std::copy_n(embeddings, request.tokens * out_width, request.audio_embeddings);
    if (request.encoder_frames) std::copy_n(frames, frame_floats, request.encoder_frames);
    embeddings += request.tokens * out_width;
    frames += frame_floats;
  }
  times.adapter_ns += watch.lap_ns();
}

DecodeTimes NativeEngine::decode(std::span<const DecodeRequest> requests) {
  const std::size_t width = config().decoder.width, vocab = config().decoder.vocab_size;
  const std::lock_guard<std::mutex> lock(pass_mutex_);
  DecodeTimes times;
  in_passes(
      requests, kMaxPassRows, decode_pieces_, [](const DecodeRequest& r) { return r.positions; },
      [&](const DecodeRequest& r, std::size_t first, std::size_t count) {
        const std::size_t quiet = r.positions - r.results;             // leading positions that are not read out
        const std::size_t before = first > quiet ? first - quiet : 0;  // results of earlier pieces
        const std::size_t until = first + count > quiet ? first + count - quiet : 0;
        return DecodeRequest{r.state,
                             r.audio_embeddings + first * width,
                             r.previous_ids + first,
                             count,
                             until - before,
                             r.choices + before,
                             r.logits ? r.logits + before * vocab : nullptr};
      },
      [&](std::span<const DecodeRequest> pass) { decode_pass(pass, times); });
  return times;
}

void NativeEngine::decode_pass(std::span<const DecodeRequest> pass, DecodeTimes& times) {
  const std::size_t width = config().decoder.width, vocab = config().decoder.vocab_size;
  Stopwatch watch;
  rows_.clear();
  for (const DecodeRequest& request : pass) {
    NativeState& state = native(request.state);
    for (std::size_t p = 0; p < request.positions; ++p) {
      float* x = &residual_[rows_.size() * width];
      weights_->embedding.weight().unpack_row(request.previous_ids[p], x);
      executor_.kernels().add(x, request.audio_embeddings + p * width, width);
      rows_.push_back({&state.decoder_ring, state.next_position++, state.delay_scales->data()});
    }
  }
  weights_->decoder.forward(executor_, rows_, residual_.data(), normed_.data());
  times.decoder_ns += watch.lap_ns();

  // Only the rows that are read out go through the head, gathered from all streams into one product.
  std::size_t row = 0, selected = 0;
  float* gathered = residual_.data();
  for (const DecodeRequest& request : pass) {
    row += request.positions;
    for (std::size_t i = 0; i < request.results; ++i) {
      std::copy_n(&normed_[(row - request.results + i) * width], width, gathered + selected * width);
      logit_rows_[selected++] = request.logits ? request.logits + i * vocab : nullptr;
    }
  }
  if (selected == 0) return;
  weights_->head.forward(executor_, gathered, selected, choices_.data(), logit_rows_.data());
  const TokenChoice* choice = choices_.data();
  for (const DecodeRequest& request : pass) {
    std::copy_n(choice, request.results, request.choices);
    choice += request.results;
  }
  times.head_ns += watch.lap_ns();
}

}  // namespace voxtral_edge
