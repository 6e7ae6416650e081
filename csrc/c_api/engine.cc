// Loading and describing an engine.
#include <cstddef>
#include <utility>

#include "c_api/guard.h"
#include "c_api/handles.h"
#include "engine/option_values.h"

namespace voxtral_edge::c_api {
namespace {

// Sizes of the structures' first versions, which stay whatever is appended.
constexpr std::size_t kEngineOptionsSize = offsetof(ve_engine_options, packed_cache_read_only) + sizeof(uint32_t);
constexpr std::size_t kEngineInfoSize = offsetof(ve_engine_info, reserved) + sizeof(uint32_t);
// No padding at the end, where a field that is appended would find bytes that nobody has set to zero.
static_assert(kEngineOptionsSize == sizeof(ve_engine_options) && kEngineInfoSize == sizeof(ve_engine_info));

const char* or_empty(const char* text) { return text == nullptr ? "" : text; }

NativeEngineOptions engine_options(const ve_engine_options* given) {
  NativeEngineOptions options;
  if (given == nullptr) return options;
  const ve_engine_options o = taken(*given, kEngineOptionsSize, "options");
  options.threads = o.threads;
  options.affinity = or_empty(o.affinity);
  if (o.kv_cache != nullptr) options.kv_cache = kv_choice_of(o.kv_cache);
  options.kernels = or_empty(o.kernels);
  options.packed_cache_folder = or_empty(o.packed_cache_folder);
  options.packed_cache_write = o.packed_cache_read_only == 0;
  if (o.on_progress != nullptr) {
    options.progress = [callback = o.on_progress, data = o.user_data](std::uint64_t done, std::uint64_t total) {
      if (callback(data, done, total) != 0) throw Cancelled();
    };
  }
  return options;
}

ve_engine_info info_of(const ve_engine& handle) {
  NativeEngine& engine = *handle.engine;
  const PackedCacheReport& cache = engine.packed_cache();
  const AudioConfig& audio = engine.config().audio;
  ve_engine_info info{};
  info.name = handle.opened.package->name().c_str();
  info.kernels = engine.kernels().name;
  info.encoder_kv = name_of(engine.encoder_kv());
  info.decoder_kv = name_of(engine.decoder_kv());
  info.packed_cache_state = name_of(cache.state);
  info.packed_cache_note = cache.note.c_str();
  info.weight_bytes = engine.weight_bytes();
  info.state_bytes = engine.state_bytes();
  info.threads = static_cast<std::uint32_t>(engine.threads());
  info.sample_rate_hz = static_cast<std::uint32_t>(audio.sample_rate_hz);
  info.samples_per_token = static_cast<std::uint32_t>(audio.samples_per_token);
  return info;
}

}  // namespace
}  // namespace voxtral_edge::c_api

extern "C" {

using namespace voxtral_edge;
using namespace voxtral_edge::c_api;

ve_status ve_engine_load(const char* package_folder, const ve_engine_options* options, ve_engine** engine) {
  return guarded("ve_engine_load", [&] {
    required(engine, "engine") = nullptr;
    const NativeEngineOptions native_options = engine_options(options);
    auto handle = std::make_unique<ve_engine>();
    handle->opened = open_package(&required(package_folder, "package_folder"));
    handle->engine = NativeEngine::load(handle->opened.package, native_options);
    *engine = handle.release();
  });
}

void ve_engine_free(ve_engine* engine) { delete engine; }

ve_status ve_engine_get_info(const ve_engine* engine, ve_engine_info* info) {
  return guarded("ve_engine_get_info",
                 [&] { give(info_of(required(engine, "engine")), required(info, "info"), kEngineInfoSize, "info"); });
}

}  // extern "C"
