#include "text/split_pattern.h"

#include <algorithm>
#include <limits>
#include <string>

#include "base/error.h"
#include "base/utf8.h"

namespace voxtral_edge {
namespace {

constexpr std::size_t kMostInstructions = 20000;  // a published pattern has about 60
constexpr std::size_t kMostDepth = 100;           // of groups in groups
constexpr std::size_t kMostSteps = 1'000'000;     // for one piece; a published pattern takes about 5 per code point

std::string text_of(char32_t c) { return utf8({&c, 1}); }

}  // namespace

// Recursive descent; code is written as it is read.
class SplitPatternParser {
 public:
  SplitPatternParser(SplitPattern& to, std::string_view pattern) : to_(to) {
    if (utf8_valid_prefix(pattern) != pattern.size()) fail("invalid UTF-8");
    pattern_ = code_points(pattern);
    alternatives();
    if (at_ < pattern_.size()) fail("a ) without its (");
    emit({Operation::match});
  }

 private:
  using Operation = SplitPattern::Operation;
  using Instruction = SplitPattern::Instruction;
  using Set = SplitPattern::Set;

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::model_format, "tekken.json: config.pattern cannot be used: " + what + " at character " +
                                             std::to_string(at_) + "; take tekken.json from the checkpoint");
  }
  bool more() const { return at_ < pattern_.size(); }
  bool next_is(char32_t c) const { return more() && pattern_[at_] == c; }
  bool take(std::u32string_view text) {
    if (std::u32string_view(pattern_).substr(at_, text.size()) != text) return false;
    at_ += text.size();
    return true;
  }
  char32_t taken() {
    if (!more()) fail("an unexpected end");
    return pattern_[at_++];
  }
  std::size_t emit(Instruction instruction) {
    if (to_.code_.size() == kMostInstructions) fail("too many repetitions");
    to_.code_.push_back(instruction);
    return to_.code_.size() - 1;
  }
  std::size_t here() const { return to_.code_.size(); }

  // Puts an instruction before the code from `begin` on, whose targets move.
  void insert(std::size_t begin, Instruction instruction) {
    emit({Operation::match});
    auto& code = to_.code_;
    std::rotate(code.begin() + static_cast<std::ptrdiff_t>(begin), code.end() - 1, code.end());
    for (std::size_t i = begin + 1; i < code.size(); ++i) move(code[i], 1);
    code[begin] = instruction;
  }
  static void move(Instruction& i, std::size_t by) {
    if (i.operation == Operation::set || i.operation == Operation::match) return;
    i.a += by;
    if (i.operation == Operation::split) i.b += by;
  }

  void alternatives() {
    if (++depth_ > kMostDepth) fail("too many groups in each other");
    std::vector<std::size_t> ends;
    for (;;) {
      const std::size_t begin = here();
      while (more() && !next_is('|') && !next_is(')')) repeated();
      if (!take(U"|")) break;
      insert(begin, {Operation::split, begin + 1, here() + 2});
      ends.push_back(emit({Operation::jump}));
    }
    for (const std::size_t end : ends) to_.code_[end].a = here();
    --depth_;
  }

  void repeated() {
    const std::size_t begin = here();
    atom();
    const auto [least, most] = counts();
    if (next_is('?') || next_is('+') || next_is('*') || next_is('{')) fail("an unknown kind of repetition");
    if (least == 1 && most == 1) return;
    const std::vector<Instruction> once(to_.code_.begin() + static_cast<std::ptrdiff_t>(begin), to_.code_.end());
    to_.code_.resize(begin);
    const auto again = [&] {
      const std::size_t by = here() - begin;
      for (Instruction instruction : once) {
        move(instruction, by);
        emit(instruction);
      }
    };
    for (std::size_t i = 0; i < least; ++i) again();
    if (most == SplitPattern::kNone) {
      const std::size_t loop = emit({Operation::split, here() + 1});
      again();
      emit({Operation::jump, loop});
      to_.code_[loop].b = here();
      return;
    }
    std::vector<std::size_t> splits;
    for (std::size_t i = least; i < most; ++i) {
      splits.push_back(emit({Operation::split, here() + 1}));
      again();
    }
    for (const std::size_t split : splits) to_.code_[split].b = here();
  }

  std::pair<std::size_t, std::size_t> counts() {
    if (take(U"?")) return {0, 1};
    if (take(U"*")) return {0, SplitPattern::kNone};
    if (take(U"+")) return {1, SplitPattern::kNone};
    if (!take(U"{")) return {1, 1};
    const std::size_t least = number();
    std::size_t most = least;
    if (take(U",")) most = next_is('}') ? SplitPattern::kNone : number();
    if (!take(U"}") || most < least) fail("a repetition that is not {m}, {m,} or {m,n}");
    return {least, most};
  }
  std::size_t number() {
    std::size_t value = 0;
    if (!more() || pattern_[at_] < '0' || pattern_[at_] > '9') fail("a missing number");
    while (more() && pattern_[at_] >= '0' && pattern_[at_] <= '9') {
      value = value * 10 + (pattern_[at_++] - '0');
      if (value > 1000) fail("a repetition of more than 1000");
    }
    return value;
  }

  void atom() {
    if (take(U"(")) return group();
    Set set;
    if (take(U"[")) {
      set = set_in_brackets();
    } else if (take(U".")) {
      set = Set{.negated = true, .ranges = {{U'\n', U'\n'}}, .not_categories = {}};
    } else if (next_is('\\')) {
      element(set);
    } else if (next_is('^') || next_is('$') || next_is('*') || next_is('+') || next_is('?') || next_is('{')) {
      fail("an unexpected " + text_of(pattern_[at_]));
    } else {
      const char32_t literal = taken();
      set.ranges.emplace_back(literal, literal);
    }
    to_.sets_.push_back(std::move(set));
    emit({Operation::set, to_.sets_.size() - 1});
  }

  void group() {
    const bool ahead = take(U"?="), no_ahead = !ahead && take(U"?!");
    if (!ahead && !no_ahead && !take(U"?:") && next_is('?')) fail("an unknown kind of group");
    std::size_t look = 0;
    if (ahead || no_ahead) look = emit({ahead ? Operation::ahead : Operation::no_ahead});
    alternatives();
    if (!take(U")")) fail("a ( without its )");
    if (ahead || no_ahead) {
      emit({Operation::match});
      to_.code_[look].a = here();
    }
  }

  Set set_in_brackets() {
    Set set;
    set.negated = take(U"^");
    bool first = true;
    while (first || !next_is(']')) {
      first = false;
      const char32_t low = element(set);
      if (low == kWholeClass || !next_is('-') || (at_ + 1 < pattern_.size() && pattern_[at_ + 1] == ']')) continue;
      ++at_;
      const char32_t high = element(set);
      if (high == kWholeClass || high < low) fail("a range whose end is before its beginning");
      set.ranges.emplace_back(low, high);
    }
    ++at_;
    return set;
  }

  // A character, which is added to the set and returned, or a class like \p{L}.
  char32_t element(Set& set) {
    char32_t c = taken();
    if (c == '[') fail("a [ within [ ]");
    if (c == '\\') {
      c = taken();
      if (c == 'p' || c == 'P') return named_class(set, c == 'P');
      if (c == 's' || c == 'S') {
        (c == 's' ? set.white_space : set.not_white_space) = true;
        return kWholeClass;
      }
      if (c == 'd' || c == 'D') {
        add(set, category_set("Nd"), c == 'D');
        return kWholeClass;
      }
      if (c == 'r') c = '\r';
      else if (c == 'n') c = '\n';
      else if (c == 't') c = '\t';
      else if (c < 0x80 && is_letter_or_digit(c)) fail("an unknown \\" + text_of(c));
    }
    set.ranges.emplace_back(c, c);
    return c;
  }

  char32_t named_class(Set& set, bool outside) {
    std::string name;
    if (take(U"{")) {
      while (!next_is('}') && name.size() < 20) name += text_of(taken());
      take(U"}");
    } else {
      name = text_of(taken());
    }
    const CategorySet categories = category_set(name);
    if (categories == 0) fail("an unknown \\p{" + name + "}");
    add(set, categories, outside);
    return kWholeClass;
  }
  static void add(Set& set, CategorySet categories, bool outside) {
    if (outside) set.not_categories.push_back(categories);
    else set.categories |= categories;
  }

  static constexpr char32_t kWholeClass = 0xFFFFFFFF;
  SplitPattern& to_;
  std::u32string pattern_;
  std::size_t at_ = 0, depth_ = 0;
};

SplitPattern::SplitPattern(std::string_view pattern) { SplitPatternParser(*this, pattern); }

bool SplitPattern::Set::holds(char32_t c) const {
  const auto found = [&] {
    if ((white_space || not_white_space) && (is_white_space(c) ? white_space : not_white_space)) return true;
    for (const auto& [low, high] : ranges) {
      if (c >= low && c <= high) return true;
    }
    const CategorySet category = category_of(c);
    if ((category & categories) != 0) return true;
    return std::any_of(not_categories.begin(), not_categories.end(),
                       [&](CategorySet outside) { return (category & outside) == 0; });
  };
  return found() != negated;
}

std::size_t SplitPattern::match(std::size_t start, std::u32string_view text, std::size_t at, std::size_t& steps) const {
  std::vector<std::pair<std::size_t, std::size_t>> open{{start, at}};  // (instruction, place), the last one first
  while (!open.empty()) {
    auto [next, place] = open.back();
    open.pop_back();
    for (bool alive = true; alive;) {
      if (++steps > kMostSteps) {
        throw Error(ErrorCode::model_format, "tekken.json: config.pattern takes too long on a text of " +
                                                 std::to_string(text.size()) +
                                                 " characters; take tekken.json from the checkpoint");
      }
      const Instruction& now = code_[next];
      switch (now.operation) {
        case Operation::set:
          alive = place < text.size() && sets_[now.a].holds(text[place]);
          ++place;
          ++next;
          break;
        case Operation::split:
          open.emplace_back(now.b, place);
          next = now.a;
          break;
        case Operation::jump:
          next = now.a;
          break;
        case Operation::ahead:
        case Operation::no_ahead:
          alive = (match(next + 1, text, place, steps) != kNone) == (now.operation == Operation::ahead);
          next = now.a;
          break;
        case Operation::match:
          return place;
      }
    }
  }
  return kNone;
}

std::vector<std::pair<std::size_t, std::size_t>> SplitPattern::pieces(std::u32string_view text) const {
  std::vector<std::pair<std::size_t, std::size_t>> found;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t steps = 0;
    const std::size_t end = match(0, text, at, steps);
    if (end == kNone || end == at) {
      ++at;
      continue;
    }
    found.emplace_back(at, end);
    at = end;
  }
  return found;
}

}  // namespace voxtral_edge
