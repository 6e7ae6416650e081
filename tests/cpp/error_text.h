// The message of the Error(model_format) that a call throws, for checks on what it says.
#pragma once

#include <string>

#include "base/error.h"
#include "base/utf8.h"
#include "check.h"

namespace voxtral_edge::check {

template <class F>
std::string error_text(F&& function) {
  try {
    function();
  } catch (const Error& error) {
    const std::string text = error.what();
    CHECK_EQ(error.code(), ErrorCode::model_format);
    CHECK_EQ(utf8_valid_prefix(text), text.size());            // can be shown anywhere
    CHECK(text.find_first_of("\n\t\r") == std::string::npos);  // one line
    return text;
  }
  return "(no error)";
}

inline void contains(const std::string& text, const std::string& part, const char* file, int line) {
  state().checks++;
  if (text.find(part) == std::string::npos) fail(file, line, "\"" + text + "\" does not contain \"" + part + "\"");
}

}  // namespace voxtral_edge::check

#define CHECK_CONTAINS(text, part) ::voxtral_edge::check::contains((text), (part), __FILE__, __LINE__)
