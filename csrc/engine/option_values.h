// Options as the interfaces to other languages take them (names, milliseconds), and results as they name them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/native_engine.h"

namespace voxtral_edge {

inline constexpr std::uint64_t kDefaultDelayMs = 480;

// Tokens (80 ms each) of a delay the model was released for: 80 .. 1200 ms in steps of 80, or 2400 (spec 6).
// Error(usage) listing them for any other.
std::size_t delay_tokens_of(std::uint64_t delay_ms);

// "auto", "f32", "f16", "int8"; Error(usage) listing them for any other name.
KvChoice kv_choice_of(std::string_view name);

const char* name_of(KvType type);                     // "f32", "f16", "int8"
const char* name_of(PackedCacheReport::State state);  // "off", "mapped", "written", "failed"

}  // namespace voxtral_edge
