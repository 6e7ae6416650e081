#include "engine/hotwords.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <locale>
#include <sstream>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"
#include "package/json.h"
#include "text/unicode.h"

namespace voxtral_edge {
namespace {

// Letters of scripts written without spaces: a phrase may begin anywhere in a text.
constexpr std::pair<char32_t, char32_t> kNoSpaces[] = {
    {0x0E00, 0x0EFF},   // Thai, Lao
    {0x1000, 0x109F},   // Burmese
    {0x1780, 0x17FF},   // Khmer
    {0x3040, 0x30FF},   // Japanese syllables
    {0x3400, 0x9FFF},   // Chinese characters
    {0x20000, 0x3FFFF}  // rarer ones
};

// Single spaces between words, none around them.
std::u32string single_spaced(std::u32string_view text) {
  std::u32string result;
  bool space = false;
  for (const char32_t c : text) {
    if (is_white_space(c)) {
      space = !result.empty();
      continue;
    }
    if (space) result.push_back(U' ');
    space = false;
    result.push_back(c);
  }
  return result;
}

Hotword checked(const Hotword& given, std::size_t number) {
  const std::string where = "hotwords, item " + std::to_string(number) + ": ";
  const auto refuse = [&](const std::string& what) { throw Error(ErrorCode::usage, where + what); };
  if (utf8_valid_prefix(given.phrase) != given.phrase.size()) {
    refuse(json_quoted(given.phrase) + " is not valid Unicode text (UTF-8)");
  }
  const auto check_length = [&](std::size_t characters, std::size_t most) {
    if (characters <= most) return;
    refuse(json_quoted(given.phrase) + " has " + std::to_string(characters) + " characters; " +
           std::to_string(kMostHotwordCharacters) + " are the limit, give its rare words one by one");
  };
  const std::u32string spaced = single_spaced(code_points(given.phrase));
  check_length(spaced.size(), 4 * kMostHotwordCharacters);  // a composed character has at most four parts
  const std::u32string phrase = composed(spaced);
  check_length(phrase.size(), kMostHotwordCharacters);
  if (std::none_of(phrase.begin(), phrase.end(), is_letter_or_digit)) {
    refuse(json_quoted(given.phrase) + " has no letter or digit; leave it out");
  }
  if (!(given.weight > 0.0 && given.weight <= kMostHotwordWeight)) {
    std::ostringstream weight;
    weight.imbue(std::locale::classic());
    weight << given.weight;
    refuse("weight " + weight.str() + " is not a number above 0 and at most 20");
  }
  return {utf8(phrase), given.weight};
}

void check_count(std::size_t count) {
  if (count > kMostHotwords) {
    throw Error(ErrorCode::usage, "hotwords: more than " + std::to_string(kMostHotwords) +
                                      " phrases; keep those that are likely to be said");
  }
}

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// The whole text as a number in the C locale, whatever the program's is; NaN if it is none.
double number_in(const std::string& text) {
  std::istringstream stream(text);
  stream.imbue(std::locale::classic());
  double number = 0.0;
  stream >> number;
  return stream && stream.peek() == std::istringstream::traits_type::eof() ? number
                                                                           : std::numeric_limits<double>::quiet_NaN();
}

// "phrase" or "phrase :weight"; only a colon behind white space counts: "10:30".
Hotword item_of(std::string_view text, std::size_t number) {
  std::size_t begin = text.size();
  while (begin > 0 && !is_blank(text[begin - 1])) --begin;
  std::string_view last = text.substr(begin), before = trimmed(text.substr(0, begin));
  if (last.size() > 1 && last.front() == ':') {
    last.remove_prefix(1);
  } else if (before.size() > 1 && before.back() == ':' && is_blank(before[before.size() - 2])) {
    before.remove_suffix(1);
    before = trimmed(before);
  } else {
    return {std::string(text)};
  }
  if (before.empty()) return {std::string(text)};
  const double weight = number_in(std::string(last));
  if (std::isnan(weight)) {
    throw Error(ErrorCode::usage, "hotwords, item " + std::to_string(number) + ": weight " + json_quoted(last) +
                                      " is not a number above 0 and at most 20");
  }
  return {std::string(before), weight};
}

// What each token of a spelling earns of the weight: the share of the phrase that is written with it. The first letters
// of "Kubernetes" fit many words and get little, its last ones nearly everything. One letter that begins a longer
// phrase gets nothing, because it may be a letter that is being spelled.
std::vector<float> bonuses(std::span<const std::uint32_t> ids, const Tekken& tokenizer, double weight) {
  std::vector<double> written;
  double total = 0.0;
  for (const std::uint32_t id : ids) {
    const std::string_view piece = tokenizer.bytes(id);
    total += static_cast<double>(piece.size());
    if (written.empty() && piece.starts_with(' ')) total -= 1.0;
    written.push_back(total);
  }
  std::vector<float> result;
  for (const double bytes : written) {
    result.push_back(bytes > 1.0 || total == 1.0 ? static_cast<float>(weight * (bytes / total)) : 0.0f);
  }
  return result;
}

}  // namespace

std::vector<Hotword> checked_hotwords(std::span<const Hotword> given) {
  check_count(given.size());
  std::vector<Hotword> result;
  for (const Hotword& hotword : given) result.push_back(checked(hotword, result.size() + 1));
  return result;
}

std::vector<Hotword> parse_hotwords(std::string_view text, char separator) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // the mark that some editors begin UTF-8 with
  std::vector<Hotword> found;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    const std::string_view item = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (item.empty() || (separator == '\n' && item.front() == '#')) continue;
    check_count(found.size() + 1);
    found.push_back(item_of(item, found.size() + 1));
  }
  return checked_hotwords(found);
}

std::vector<HotwordSpelling> spellings_of(std::string_view phrase) {
  const std::u32string given = code_points(phrase);
  std::u32string lower = given, capital = given;
  std::transform(lower.begin(), lower.end(), lower.begin(), lower_of);
  capital.front() = upper_of(capital.front());
  std::vector<std::u32string> cases;
  for (const std::u32string& each : {given, lower, capital}) {
    if (std::find(cases.begin(), cases.end(), each) == cases.end()) cases.push_back(each);
  }
  const bool anywhere = std::any_of(std::begin(kNoSpaces), std::end(kNoSpaces), [&](const auto& range) {
    return given.front() >= range.first && given.front() <= range.second;
  });
  std::vector<HotwordSpelling> result;
  for (const std::u32string& each : cases) result.push_back({utf8(U' ' + each), false});
  for (const std::u32string& each : cases) result.push_back({utf8(each), !anywhere});
  return result;
}

std::shared_ptr<const BiasTree> hotword_tree(std::span<const Hotword> checked, const TextEncoder& encoder) {
  if (checked.empty()) return nullptr;
  std::vector<BiasSpelling> spellings;
  for (const Hotword& hotword : checked) {
    for (const auto& [text, opening] : spellings_of(hotword.phrase)) {
      std::vector<std::uint32_t> ids = encoder.encode(text);
      std::vector<float> earned = bonuses(ids, encoder.tokenizer(), hotword.weight);
      spellings.push_back({std::move(ids), std::move(earned), opening});
    }
  }
  return std::make_shared<const BiasTree>(spellings);
}

}  // namespace voxtral_edge
