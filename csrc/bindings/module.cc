#include "bindings/bindings.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The native core of voxtral-edge: engines, streams and kernels.";
  voxtral_edge::bind_errors(module);
  voxtral_edge::bind_machine(module);
  voxtral_edge::bind_audio(module);
  voxtral_edge::bind_text(module);
  voxtral_edge::bind_engines(module);
  voxtral_edge::bind_stream(module);
}
