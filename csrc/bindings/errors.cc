// Error -> the exception classes of voxtral_edge.errors.
#include "base/error.h"

#include "bindings/bindings.h"

namespace voxtral_edge {
namespace {

const char* class_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::model_format:
      return "ModelFormatError";
    case ErrorCode::audio_format:
      return "AudioFormatError";
    case ErrorCode::device:
    case ErrorCode::out_of_memory:
      return "DeviceError";
    case ErrorCode::overrun:
      return "OverrunError";
    case ErrorCode::usage:
      return "UsageError";
    case ErrorCode::internal:
      break;
  }
  return "VoxtralEdgeError";
}

}  // namespace

void bind_errors(py::module_&) {
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
      const py::object type = py::module_::import("voxtral_edge.errors").attr(class_name(error.code()));
      PyErr_SetString(type.ptr(), error.what());
    }
  });
}

}  // namespace voxtral_edge
