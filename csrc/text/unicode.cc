#include "text/unicode.h"

#include <algorithm>
#include <iterator>

#include "base/utf8.h"

namespace voxtral_edge {
namespace {

struct CategoryRun {  // up to the next run's first
  char32_t first;
  std::uint8_t category;  // kAlternating: Lu, Ll, Lu, Ll ...
};
struct CaseRun {  // first, first + step ... last
  char32_t first, last;
  std::uint8_t step;
  std::int32_t difference;
};

#include "text/unicode_letters.inc"

constexpr std::uint8_t kAlternating = kCategoryNames.size() / 2;

template <std::size_t n>
char32_t in_other_case(const CaseRun (&runs)[n], char32_t code_point) {
  const CaseRun* run = std::upper_bound(std::begin(runs), std::end(runs), code_point,
                                        [](char32_t code, const CaseRun& r) { return code < r.first; });
  if (run == std::begin(runs)) return code_point;
  --run;
  if (code_point > run->last || (code_point - run->first) % run->step != 0) return code_point;
  return static_cast<char32_t>(static_cast<std::int32_t>(code_point) + run->difference);
}

}  // namespace

CategorySet category_set(std::string_view name) {
  CategorySet set = 0;
  if (name.empty() || name.size() > 2) return set;
  for (std::size_t i = 0; i < kCategoryNames.size(); i += 2) {
    if (kCategoryNames.substr(i, name.size()) == name) set |= CategorySet{1} << (i / 2);
  }
  return set;
}

CategorySet category_of(char32_t code_point) {
  const CategoryRun* run = std::upper_bound(std::begin(kCategoryRuns), std::end(kCategoryRuns), code_point,
                                            [](char32_t code, const CategoryRun& r) { return code < r.first; });
  --run;  // the first begins at 0
  return CategorySet{1} << (run->category == kAlternating ? (code_point - run->first) % 2 : run->category);
}

bool is_white_space(char32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_letter_or_digit(char32_t code_point) {
  static const CategorySet letters_and_numbers = category_set("L") | category_set("N");
  return (category_of(code_point) & letters_and_numbers) != 0;
}

char32_t lower_of(char32_t code_point) { return in_other_case(kLowerRuns, code_point); }
char32_t upper_of(char32_t code_point) { return in_other_case(kUpperRuns, code_point); }

std::u32string code_points(std::string_view text) {
  std::u32string result;
  while (!text.empty()) {
    const Utf8Character next = utf8_front(text);
    result.push_back(next.code_point);
    text.remove_prefix(next.length);
  }
  return result;
}

std::string utf8(std::u32string_view code_points) {
  std::string result;
  for (const char32_t code_point : code_points) utf8_append(result, code_point);
  return result;
}

}  // namespace voxtral_edge
