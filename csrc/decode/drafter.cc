#include "decode/drafter.h"

#include <algorithm>

namespace voxtral_edge {

NgramDrafter::NgramDrafter(std::uint32_t pad_id) : pad_id_(pad_id) {
  for (auto& table : tables_) table.resize(kEntries);
}

void NgramDrafter::reset() {
  for (auto& table : tables_) std::fill(table.begin(), table.end(), Entry{});
  known_ = 0;
}

std::uint64_t NgramDrafter::key_of(std::span<const std::uint32_t> context) {
  std::uint64_t key = 0x9e3779b97f4a7c15ull + context.size();
  for (const std::uint32_t id : context) {
    key = (key ^ id) * 0xff51afd7ed558ccdull;  // MurmurHash3's finaliser constant spreads small ids over all bits
    key ^= key >> 32;
  }
  return key | 1;  // 0 marks an empty entry
}

const NgramDrafter::Entry* NgramDrafter::find(std::span<const std::uint32_t> context) const {
  const std::uint64_t key = key_of(context);
  const Entry& entry = tables_[context.size() - 1][key % kEntries];
  return entry.key == key ? &entry : nullptr;
}

void NgramDrafter::learn(std::uint32_t id) {
  for (std::size_t order = 1; order <= known_; ++order) {
    const std::uint64_t key = key_of({recent_ + kLongest - order, order});
    Entry& entry = tables_[order - 1][key % kEntries];
    if (entry.key == key && entry.next == id) {
      ++entry.hits;
    } else if (entry.key == key && entry.hits > 0) {
      entry.hits /= 2;  // one surprise does not unlearn a habit
    } else {
      entry = {key, id, 0};
    }
  }
  std::copy(recent_ + 1, recent_ + kLongest, recent_);
  recent_[kLongest - 1] = id;
  known_ = std::min(known_ + 1, kLongest);
}

// The longest context that was right before decides; after it, the longest that was seen at all.
std::uint32_t NgramDrafter::next_after(std::span<const std::uint32_t> recent) const {
  const Entry* seen = nullptr;
  for (std::size_t order = recent.size(); order >= 1; --order) {
    const Entry* entry = find(recent.last(order));
    if (entry == nullptr) continue;
    if (entry->hits > 0) return entry->next;
    if (seen == nullptr) seen = entry;
  }
  return seen != nullptr ? seen->next : pad_id_;
}

void NgramDrafter::propose(std::span<std::uint32_t> drafts) const {
  std::uint32_t window[kLongest];
  std::copy(recent_, recent_ + kLongest, window);
  std::size_t known = known_;
  for (std::uint32_t& draft : drafts) {
    draft = next_after({window + kLongest - known, known});
    std::copy(window + 1, window + kLongest, window);
    window[kLongest - 1] = draft;
    known = std::min(known + 1, kLongest);
  }
}

}  // namespace voxtral_edge
