// What every fuzz target offers: libFuzzer calls the first function, the standalone driver both.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace voxtral_edge::fuzz {

// Valid inputs to start from, and words that mutations should try (keys, numbers at the edge of their type).
std::vector<std::string> seeds();
std::vector<std::string> dictionary();

// Calls `function`; Error(model_format) is an expected answer, anything else is a finding and escapes.
template <class F>
void expect_model_format_error(F&& function) {
  try {
    function();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::model_format) throw;
  }
}

// A broken property is a finding, also where assert() is compiled out.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken property: %s\n", what);
  std::abort();
}

inline const std::vector<std::string>& json_dictionary() {
  static const std::vector<std::string> words = {"0",
                                                 "-1",
                                                 "1",
                                                 "64",
                                                 "4294967295",
                                                 "4294967296",
                                                 "9223372036854775807",
                                                 "9223372036854775808",
                                                 "-9223372036854775808",
                                                 "18446744073709551615",
                                                 "1e308",
                                                 "1e999",
                                                 "1e-999",
                                                 "0.5",
                                                 "null",
                                                 "true",
                                                 "false",
                                                 "NaN",
                                                 "{}",
                                                 "[]",
                                                 "\"\"",
                                                 "\"x\"",
                                                 "[[[[[[[[",
                                                 "{\"a\":{\"a\":",
                                                 "\\u0000",
                                                 "\\ud83d",
                                                 "\\ude00",
                                                 "\xFF",
                                                 "\xE6\xBC",
                                                 ",",
                                                 ":",
                                                 "\"",
                                                 "}",
                                                 "]",
                                                 "/",
                                                 "../"};
  return words;
}

}  // namespace voxtral_edge::fuzz
