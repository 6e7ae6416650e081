// The parts of the Python module, one per file.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <memory>
#include <string>

#include "engine/engine.h"
#include "engine/opened_package.h"

namespace voxtral_edge {

namespace py = pybind11;

using FloatArray = py::array_t<float, py::array::c_style | py::array::forcecast>;

// An engine with the package and tokenizer it was opened from, as Python sees it.
class BoundEngine {
 public:
  explicit BoundEngine(const std::string& directory);  // Error(model_format)
  virtual ~BoundEngine() = default;

  virtual std::shared_ptr<Engine> engine() = 0;
  std::shared_ptr<const Package> package() const { return opened_.package; }
  std::shared_ptr<const Tekken> tokenizer() const { return opened_.tokenizer; }
  std::shared_ptr<const TextEncoder> encoder() const { return opened_.encoder; }

 private:
  OpenedPackage opened_;
};

// Copies `values` into a fresh array of the given shape.
FloatArray to_array(const float* values, std::vector<py::ssize_t> shape);

// Text with a path in it as Python has paths: bytes that are no UTF-8 become lone surrogates (os.fsdecode).
py::str path_text(const std::string& text);

void bind_errors(py::module_& module);
void bind_machine(py::module_& module);
void bind_audio(py::module_& module);
void bind_engines(py::module_& module);
void bind_text(py::module_& module);
void bind_stream(py::module_& module);

}  // namespace voxtral_edge
