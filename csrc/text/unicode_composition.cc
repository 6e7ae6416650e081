// Normalization form C (Unicode standard annex 15).
#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <utility>

#include "text/unicode.h"

namespace voxtral_edge {
namespace {

struct CombiningRun {  // up to the next run's first
  char32_t first;
  std::uint8_t combining_class;
};
struct Decomposition {
  char32_t code_point, first, second = 0;
  bool excluded = false;  // from composition
};

#include "text/unicode_composition.inc"

// Hangul syllables are arithmetic (Unicode standard, section 3.12).
constexpr char32_t kSyllables = 0xAC00, kLeads = 0x1100, kVowels = 0x1161, kTrails = 0x11A7;
constexpr char32_t kLeadCount = 19, kVowelCount = 21, kTrailCount = 28;
constexpr char32_t kSyllableCount = kLeadCount * kVowelCount * kTrailCount;

std::uint8_t combining_class(char32_t code_point) {
  const CombiningRun* run = std::upper_bound(std::begin(kCombiningRuns), std::end(kCombiningRuns), code_point,
                                             [](char32_t code, const CombiningRun& r) { return code < r.first; });
  return run == std::begin(kCombiningRuns) ? 0 : (run - 1)->combining_class;
}

void decompose(char32_t code_point, std::u32string& to) {
  if (code_point >= kSyllables && code_point < kSyllables + kSyllableCount) {
    const char32_t index = code_point - kSyllables;
    to.push_back(kLeads + index / (kVowelCount * kTrailCount));
    to.push_back(kVowels + index / kTrailCount % kVowelCount);
    if (index % kTrailCount != 0) to.push_back(kTrails + index % kTrailCount);
    return;
  }
  const Decomposition* found =
      std::lower_bound(std::begin(kDecompositions), std::end(kDecompositions), code_point,
                       [](const Decomposition& d, char32_t code) { return d.code_point < code; });
  if (found == std::end(kDecompositions) || found->code_point != code_point) {
    to.push_back(code_point);
    return;
  }
  decompose(found->first, to);
  if (found->second != 0) decompose(found->second, to);
}

// What the two become together; 0: nothing.
char32_t compose(char32_t first, char32_t second) {
  if (first >= kLeads && first < kLeads + kLeadCount && second >= kVowels && second < kVowels + kVowelCount) {
    return kSyllables + ((first - kLeads) * kVowelCount + (second - kVowels)) * kTrailCount;
  }
  if (first >= kSyllables && first < kSyllables + kSyllableCount && (first - kSyllables) % kTrailCount == 0 &&
      second > kTrails && second < kTrails + kTrailCount) {
    return first + (second - kTrails);
  }
  static const auto pairs = [] {
    std::map<std::pair<char32_t, char32_t>, char32_t> table;
    for (const Decomposition& d : kDecompositions) {
      if (d.second != 0 && !d.excluded) table.emplace(std::pair(d.first, d.second), d.code_point);
    }
    return table;
  }();
  const auto found = pairs.find({first, second});
  return found == pairs.end() ? 0 : found->second;
}

}  // namespace

std::u32string composed(std::u32string_view text) {
  std::u32string parts;
  for (const char32_t code_point : text) decompose(code_point, parts);
  // Marks behind a letter in the order of their classes; those of one class keep theirs.
  for (auto begin = parts.begin(); begin != parts.end();) {
    const auto end = std::find_if(begin + 1, parts.end(), [](char32_t c) { return combining_class(c) == 0; });
    const auto marks = combining_class(*begin) == 0 ? begin + 1 : begin;
    // By insertion: there are one or two, and clang 19 calls the buffer deprecated that GCC's std::stable_sort takes.
    for (auto mark = marks; mark != end; ++mark) {
      const auto place = std::upper_bound(
          marks, mark, *mark, [](char32_t a, char32_t b) { return combining_class(a) < combining_class(b); });
      std::rotate(place, mark, mark + 1);
    }
    begin = end;
  }
  std::u32string result;
  std::size_t starter = std::u32string::npos;  // in result
  std::uint8_t last_class = 0;                 // of what stands between the starter and here
  for (const char32_t code_point : parts) {
    const std::uint8_t own_class = combining_class(code_point);
    const bool adjacent = starter != std::u32string::npos && starter + 1 == result.size();
    if (starter != std::u32string::npos && (adjacent || last_class < own_class)) {
      if (const char32_t together = compose(result[starter], code_point); together != 0) {
        result[starter] = together;
        continue;
      }
    }
    if (own_class == 0) starter = result.size();
    last_class = own_class;
    result.push_back(code_point);
  }
  return result;
}

}  // namespace voxtral_edge
