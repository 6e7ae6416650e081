// The model on our own kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "model/adapter.h"
#include "model/conv_stem.h"
#include "model/transformer_stack.h"
#include "model/weight_loader.h"
#include "package/package.h"

namespace voxtral_edge {

enum class KvChoice { automatic, f32, f16, i8 };

struct NativeEngineOptions {
  std::size_t threads = 0;                  // 0: CpuTopology::default_threads()
  std::string affinity;                     // as place_workers() has it; empty: VOXTRAL_EDGE_AFFINITY, else off
  KvChoice kv_cache = KvChoice::automatic;  // automatic: chosen by the weights' precision
  std::string kernels;                      // name; empty: active_kernels()
  LoadProgress progress;
  // Folder for the file of permuted weights (model/packed_cache.h): mapped if it is there and fits, else written where
  // `packed_cache_write` says so. Empty: none.
  std::string packed_cache_folder;
  bool packed_cache_write = true;
  std::optional<std::uint64_t> obtainable_memory_bytes = std::nullopt;  // none: what read_memory() says (tests)
};

// What became of NativeEngineOptions::packed_cache_folder.
struct PackedCacheReport {
  // off: no folder, or no file in it and none to be written; failed: loaded without, see note
  enum class State { off, mapped, written, failed } state = State::off;
  std::string path;
  std::string note;  // why a file that is there could not be used, why none could be written; or empty
};

class NativeEngine final : public Engine {
 public:
  // Loads every weight. Error(model_format), Error(device), or Error(out_of_memory), also before loading, where weights
  // that are not mapped cannot fit: Linux would grant the memory and end the process.
  static std::unique_ptr<NativeEngine> load(std::shared_ptr<const Package> package, const NativeEngineOptions& options);

  ~NativeEngine() override;
  const ModelConfig& config() const override { return package_->config(); }
  std::unique_ptr<EngineState> create_state(std::size_t delay_tokens, std::uint64_t first_token_position) override;
  std::unique_ptr<EngineState> copy_state(const EngineState& state) override;
  void assume_full_windows(EngineState& state) override;
  EncodeTimes encode(std::span<const EncodeRequest> requests) override;
  DecodeTimes decode(std::span<const DecodeRequest> requests) override;
  bool times_stages() const override { return true; }
  void rewind(EngineState& state, std::size_t positions) override;
  std::uint64_t saturated_numbers(const EngineState& state) const override;
  std::size_t preferred_batch_tokens() const override;
  std::span<const double> decode_costs() const override { return decode_costs_; }

  const Kernels& kernels() const { return executor_.kernels(); }
  std::size_t threads() { return executor_.pool().size(); }
  KvType encoder_kv() const { return encoder_kv_; }
  KvType decoder_kv() const { return decoder_kv_; }
  const PackedCacheReport& packed_cache() const { return packed_cache_; }
  std::size_t weight_bytes() const;  // packed, in memory
  std::size_t state_bytes() const;   // KV rings of one stream when full

 private:
  struct Weights;
  std::vector<double> measure_decode_costs();
  std::unique_ptr<Weights> load_weights(const LoadProgress& progress, PackedCacheUse cache);
  std::unique_ptr<Weights> load_through_cache(const NativeEngineOptions& options);
  NativeEngine(std::shared_ptr<const Package> package, const NativeEngineOptions& options, std::size_t threads);
  std::shared_ptr<const std::vector<float>> scales_for(std::size_t delay_tokens);
  void encode_pass(std::span<const EncodeRequest> pass, EncodeTimes& times);
  void decode_pass(std::span<const DecodeRequest> pass, DecodeTimes& times);
  std::size_t frames_per_token() const { return config().adapter.frames_per_token; }

  std::shared_ptr<const Package> package_;
  KvType encoder_kv_, decoder_kv_;
  std::mutex pass_mutex_;  // one pass at a time: it uses all threads and the scratch buffers
  Executor executor_;
  PackedCacheReport packed_cache_;
  std::unique_ptr<Weights> weights_;
  std::vector<PassRow> rows_;
  std::vector<float> residual_, normed_;
  std::vector<TokenChoice> choices_;
  std::vector<float*> logit_rows_;
  std::vector<EncodeRequest> encode_pieces_;
  std::vector<DecodeRequest> decode_pieces_;
  std::vector<double> decode_costs_;
  std::mutex delay_mutex_;
  std::map<std::size_t, std::shared_ptr<const std::vector<float>>> delay_scales_;
};

}  // namespace voxtral_edge
