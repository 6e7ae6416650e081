#include "decode/ngram_table.h"

namespace voxtral_edge {

NgramTable::NgramTable(std::uint32_t pad_id) : pad_id_(pad_id) {
  for (auto& table : tables_) table.resize(kEntries);
}

void NgramTable::reset() {
  for (auto& table : tables_) std::fill(table.begin(), table.end(), Entry{});
  recent_ = {};
}

std::uint64_t NgramTable::key_of(std::span<const std::uint32_t> context) {
  std::uint64_t key = 0x9e3779b97f4a7c15ull + context.size();
  for (const std::uint32_t id : context) {
    key = (key ^ id) * 0xff51afd7ed558ccdull;  // MurmurHash3's finaliser constant spreads small ids over all bits
    key ^= key >> 32;
  }
  return key | 1;  // 0 marks an empty entry
}

const NgramTable::Entry* NgramTable::find(std::span<const std::uint32_t> context) const {
  const std::uint64_t key = key_of(context);
  const Entry& entry = tables_[context.size() - 1][key % kEntries];
  return entry.key == key ? &entry : nullptr;
}

void NgramTable::learn(std::uint32_t id) {
  for (std::size_t order = 1; order <= recent_.known(); ++order) {
    const std::uint64_t key = key_of(recent_.last(order));
    Entry& entry = tables_[order - 1][key % kEntries];
    if (entry.key == key && entry.next == id) {
      ++entry.hits;
    } else if (entry.key == key && entry.hits > 0) {
      entry.hits /= 2;  // one surprise does not unlearn a habit
    } else {
      entry = {key, id, 0};
    }
  }
  recent_.push(id);
}

// The longest context that was right before decides; after it, the longest that was seen at all.
NgramTable::Guess NgramTable::next_after(const Context& context) const {
  const Entry* seen = nullptr;
  for (std::size_t order = context.known(); order >= 1; --order) {
    const Entry* entry = find(context.last(order));
    if (entry == nullptr) continue;
    if (entry->hits > 0) return {entry->next, order};
    if (seen == nullptr) seen = entry;
  }
  return {seen != nullptr ? seen->next : pad_id_, 0};
}

}  // namespace voxtral_edge
