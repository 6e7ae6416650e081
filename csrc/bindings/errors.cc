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

py::str path_text(const std::string& text) {
  PyObject* decoded = PyUnicode_DecodeFSDefaultAndSize(text.data(), static_cast<Py_ssize_t>(text.size()));
  if (decoded == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(decoded);
}

void bind_errors(py::module_&) {
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
      const py::object type = py::module_::import("voxtral_edge.errors").attr(class_name(error.code()));
      PyErr_SetObject(type.ptr(), path_text(error.what()).ptr());
    }
  });
}

}  // namespace voxtral_edge
