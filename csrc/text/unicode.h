// What Unicode says of code points, as far as phrases and the tokenizer's pattern need it: general categories, case,
// composed form. The tables are written by make_unicode_tables.py and cover Unicode 15.1.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace voxtral_edge {

// General categories, two letters each, in the order of the bits of a CategorySet.
inline constexpr std::string_view kCategoryNames = "LuLlLtLmLoMnMcMeNdNlNoPcPdPsPePiPfPoSmScSkSoZsZlZpCcCfCsCoCn";

using CategorySet = std::uint32_t;  // bit i: the category at kCategoryNames[2 * i]

// The set of "L", "Lu", "P" ...; 0 for a name that is none.
CategorySet category_set(std::string_view name);
// The set that holds the category of `code_point` alone.
CategorySet category_of(char32_t code_point);
bool is_white_space(char32_t code_point);
bool is_letter_or_digit(char32_t code_point);

// The code point's partner in the other case, itself where it has none or more than one letter ("ß").
char32_t lower_of(char32_t code_point);
char32_t upper_of(char32_t code_point);

// The code points of a text of valid UTF-8, and back.
std::u32string code_points(std::string_view text);
std::string utf8(std::u32string_view code_points);

// The composed form (NFC): "e" and a combining acute become "é", as keyboards and the model's training text write it.
// Takes the square of the marks on one letter.
std::u32string composed(std::u32string_view text);

}  // namespace voxtral_edge
