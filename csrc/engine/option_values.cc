#include "engine/option_values.h"

#include <string>

#include "base/error.h"

namespace voxtral_edge {
namespace {

constexpr std::uint64_t kTokenMs = 80, kLongestStepMs = 1200, kLongestMs = 2400;

constexpr const char* kKvNames[] = {"auto", "f32", "f16", "int8"};  // as KvChoice

}  // namespace

std::size_t delay_tokens_of(std::uint64_t delay_ms) {
  const bool step = delay_ms >= kTokenMs && delay_ms <= kLongestStepMs && delay_ms % kTokenMs == 0;
  if (step || delay_ms == kLongestMs) return static_cast<std::size_t>(delay_ms / kTokenMs);
  std::string listed;
  for (std::uint64_t valid = kTokenMs; valid <= kLongestStepMs; valid += kTokenMs) {
    listed += std::to_string(valid) + ", ";
  }
  throw Error(ErrorCode::usage,
              "delay_ms is " + std::to_string(delay_ms) + "; choose one of: " + listed + std::to_string(kLongestMs));
}

KvChoice kv_choice_of(std::string_view name) {
  for (const KvChoice choice : {KvChoice::automatic, KvChoice::f32, KvChoice::f16, KvChoice::i8}) {
    if (name == kKvNames[static_cast<std::size_t>(choice)]) return choice;
  }
  throw Error(ErrorCode::usage, "kv_cache: \"" + std::string(name) + "\" is not one of auto, f32, f16, int8");
}

const char* name_of(KvType type) {
  switch (type) {
    case KvType::f32:
      return "f32";
    case KvType::f16:
      return "f16";
    case KvType::i8:
      return "int8";
  }
  return "unknown";
}

const char* name_of(PackedCacheReport::State state) {
  constexpr const char* kStates[] = {"off", "mapped", "written", "failed"};
  return kStates[static_cast<std::size_t>(state)];
}

}  // namespace voxtral_edge
