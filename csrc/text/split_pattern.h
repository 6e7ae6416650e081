// The regular expression by which a tekken.json cuts text into pieces before it merges bytes to tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "text/unicode.h"

namespace voxtral_edge {

// What patterns of tekken files are made of: literals, `.`, classes with ranges and \p{...}, \s \d \r \n \t and their
// opposites, groups (?:...), alternatives, ? * + {m,n} (greedy), and looking ahead (?=...) (?!...). The first
// alternative that fits counts, as in Perl. Immutable.
class SplitPattern {
 public:
  // Error(model_format) for anything else, naming it and its place.
  explicit SplitPattern(std::string_view pattern);

  // The pieces of a text, in order, as (first code point, end). What the pattern does not match is in none.
  // Error(model_format) for a pattern that goes on trying without end.
  std::vector<std::pair<std::size_t, std::size_t>> pieces(std::u32string_view text) const;

 private:
  friend class SplitPatternParser;
  struct Set {  // of code points
    CategorySet categories = 0;
    bool white_space = false, not_white_space = false, negated = false;
    std::vector<std::pair<char32_t, char32_t>> ranges;
    std::vector<CategorySet> not_categories;  // \P{...}: everything outside of one of these
    bool holds(char32_t code_point) const;
  };
  enum class Operation : std::uint8_t {
    set,       // one code point of sets_[a]
    split,     // go on at a; if that fails, at b
    jump,      // go on at a
    ahead,     // what follows must fit the code from the next instruction to its `match`; go on at a
    no_ahead,  // must not
    match
  };
  struct Instruction {
    Operation operation;
    std::size_t a = 0, b = 0;
  };
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  // Where a match of the code at `start` that begins at `at` ends, or kNone.
  std::size_t match(std::size_t start, std::u32string_view text, std::size_t at, std::size_t& steps) const;

  std::vector<Set> sets_;
  std::vector<Instruction> code_;
};

}  // namespace voxtral_edge
