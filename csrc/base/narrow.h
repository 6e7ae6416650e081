// Integer conversion that refuses to change the value.
#pragma once

#include <string>
#include <utility>

#include "base/error.h"

namespace voxtral_edge {

// static_cast<To>(value) when the value survives; else Error(internal) naming `what`.
template <class To, class From>
constexpr To narrow(From value, const char* what) {
  if (!std::in_range<To>(value))
    throw Error(ErrorCode::internal, std::string(what) + " = " + std::to_string(value) + " does not fit its type");
  return static_cast<To>(value);
}

}  // namespace voxtral_edge
