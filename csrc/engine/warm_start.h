// States that have heard the left padding: every stream of one delay begins with the same silence and prompt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace voxtral_edge {

class EngineState;

// Kept per engine. At full size the padding is 31 tokens, 0.7 to 1 s of computing; a copy of its state takes 65 MB and
// about 15 ms. Thread-safe; the states are never written once stored.
class WarmStarts {
 public:
  struct Key {
    std::size_t delay_tokens;
    std::uint64_t first_token_position;
    bool operator==(const Key&) const = default;
  };

  // Null if there is none yet.
  std::shared_ptr<const EngineState> find(const Key& key) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const Entry& entry : entries_) {
      if (entry.first == key) return entry.second;
    }
    return nullptr;
  }

  void store(const Key& key, std::shared_ptr<const EngineState> state) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const Entry& entry : entries_) {
      if (entry.first == key) return;  // two streams began at the same time
    }
    if (entries_.size() == kMost) entries_.erase(entries_.begin());
    entries_.emplace_back(key, std::move(state));
  }

 private:
  static constexpr std::size_t kMost = 2;  // a process rarely uses more delays; each costs 65 MB at full size
  using Entry = std::pair<Key, std::shared_ptr<const EngineState>>;
  std::mutex mutex_;
  std::vector<Entry> entries_;
};

}  // namespace voxtral_edge
