// The border that no exception crosses, and structures that grow with versions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>

#include "base/error.h"
#include "c_api/voxtral_edge.h"

namespace voxtral_edge::c_api {

// Thrown where a callback of the caller asks to stop.
struct Cancelled {};

// Call from a catch block: stores the message for ve_last_error and returns the status of the current exception.
ve_status failed(const char* function) noexcept;

// Runs the body of the exported `function`; every exception becomes a status.
template <class Body>
ve_status guarded(const char* function, Body&& body) noexcept {
  try {
    body();
    return VE_OK;
  } catch (...) {
    return failed(function);
  }
}

[[noreturn]] inline void refuse(const std::string& message) { throw Error(ErrorCode::usage, message); }

template <class T>
T& required(T* pointer, const char* name) {
  if (pointer == nullptr) refuse(std::string(name) + " is NULL; it must point to something");
  return *pointer;
}

// The size that the caller gave to a structure, of which the first version had `first_size` bytes.
inline std::size_t checked_size(std::size_t size, std::size_t first_size, const char* name) {
  constexpr std::size_t kMost = 4096;  // far beyond any version: an uninitialised field
  if (size < first_size || size > kMost) {
    refuse(std::string(name) + ".struct_size is " + std::to_string(size) + "; initialise the structure with its " +
           "..._INIT, or set struct_size to its sizeof");
  }
  return size;
}

// A structure from the caller as this version knows it: fields of later versions than the caller's are zero, and
// fields that only the caller knows must be.
template <class T>
T taken(const T& given, std::size_t first_size, const char* name) {
  const std::size_t size = checked_size(given.struct_size, first_size, name);
  const auto* bytes = reinterpret_cast<const unsigned char*>(&given);
  if (std::any_of(bytes + std::min(size, sizeof(T)), bytes + size, [](unsigned char byte) { return byte != 0; })) {
    refuse(std::string(name) + " uses a field that this version of the library (" + ve_version() +
           ") does not know; leave it 0, or update the library");
  }
  T result{};
  std::memcpy(&result, &given, std::min(size, sizeof(T)));
  return result;
}

// The reverse: as much of `result` as the caller's structure holds.
template <class T>
void give(const T& result, T& to, std::size_t first_size, const char* name) {
  const std::size_t size = checked_size(to.struct_size, first_size, name);
  auto* bytes = reinterpret_cast<unsigned char*>(&to);
  std::memcpy(bytes, &result, std::min(size, sizeof(T)));
  std::fill(bytes + std::min(size, sizeof(T)), bytes + size, static_cast<unsigned char>(0));
  to.struct_size = size;
}

}  // namespace voxtral_edge::c_api
