// Version, statuses, and exceptions as statuses.
#include <array>
#include <cstdio>
#include <exception>
#include <new>
#include <string_view>

#include "base/utf8.h"
#include "c_api/guard.h"

#define VE_TEXT_OF(value) #value
#define VE_TEXT(value) VE_TEXT_OF(value)

namespace voxtral_edge::c_api {
namespace {

// Of the thread, so that threads do not overwrite each other's; of fixed size, so that storing it cannot fail.
std::array<char, 1001>& last_error() {
  thread_local std::array<char, 1001> message{};
  return message;
}

ve_status store(ve_status status, const char* function, const char* message) noexcept {
  std::array<char, 1001>& stored = last_error();
  std::snprintf(stored.data(), stored.size(), "%s: %s", function, message);
  // The end may have cut a character, and a folder's name may be any bytes: what is not UTF-8 becomes "?".
  const std::string_view text(stored.data());
  for (std::size_t at = 0; (at += utf8_valid_prefix(text.substr(at))) < text.size(); ++at) stored[at] = '?';
  return status;
}

ve_status status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::model_format:
      return VE_ERROR_MODEL_FORMAT;
    case ErrorCode::device:
      return VE_ERROR_DEVICE;
    case ErrorCode::out_of_memory:
      return VE_ERROR_OUT_OF_MEMORY;
    case ErrorCode::audio_format:  // these two are Python's: nothing in the core throws them
    case ErrorCode::overrun:
    case ErrorCode::usage:
      return VE_ERROR_USAGE;
    case ErrorCode::internal:
      break;
  }
  return VE_ERROR_INTERNAL;
}

}  // namespace

ve_status failed(const char* function) noexcept {
  try {
    throw;
  } catch (const Error& error) {
    return store(status_of(error.code()), function, error.what());
  } catch (const std::bad_alloc&) {
    return store(VE_ERROR_OUT_OF_MEMORY, function,
                 "not enough memory: close other programs, raise the limit (ulimit -v, container, service), or use a "
                 "package of smaller precision");
  } catch (const Cancelled&) {
    return store(VE_ERROR_CANCELLED, function, "on_progress asked to stop; load again to go on");
  } catch (const std::exception& error) {
    return store(VE_ERROR_INTERNAL, function, error.what());
  } catch (...) {
    return store(VE_ERROR_INTERNAL, function, "an exception of unknown type; it may come from a callback");
  }
}

}  // namespace voxtral_edge::c_api

extern "C" {

const char* ve_version(void) {
  return VE_TEXT(VE_VERSION_MAJOR) "." VE_TEXT(VE_VERSION_MINOR) "." VE_TEXT(VE_VERSION_PATCH);
}

uint32_t ve_version_number(void) { return VE_VERSION_NUMBER(VE_VERSION_MAJOR, VE_VERSION_MINOR, VE_VERSION_PATCH); }

const char* ve_status_name(ve_status status) {
  switch (status) {
    case VE_OK:
      return "VE_OK";
    case VE_ERROR_USAGE:
      return "VE_ERROR_USAGE";
    case VE_ERROR_MODEL_FORMAT:
      return "VE_ERROR_MODEL_FORMAT";
    case VE_ERROR_DEVICE:
      return "VE_ERROR_DEVICE";
    case VE_ERROR_OUT_OF_MEMORY:
      return "VE_ERROR_OUT_OF_MEMORY";
    case VE_ERROR_CANCELLED:
      return "VE_ERROR_CANCELLED";
    case VE_ERROR_INTERNAL:
      return "VE_ERROR_INTERNAL";
    default:
      return "unknown status";
  }
}

const char* ve_last_error(void) { return voxtral_edge::c_api::last_error().data(); }

}  // extern "C"
